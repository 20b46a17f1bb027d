"""What can be seen of answers without knowing the right ones.

Diagnostics are kept beside a score and are no part of it: no key and no fingerprint depends on
them. `langmerge.suspicion` says which are worth a look.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langmerge.identification import identifier

Sample = dict[str, Any]
Diagnostics = dict[str, Any]

LONG_ENOUGH = 8
"""Words from which on the language of a text is known; with less, one text in ten of a language
like Galician is taken for another (docs/benchmarks, language identification).
"""

REPETITIVE = 6.0
"""A text is repetitive if zlib makes it smaller by more than this factor.

Ordinary texts of 20 to 1,000 words have 1.05 to 2.8, in each of eu, gl, ca, es, en, cy and sw; one
sentence again and again has 10 after 500 characters and 30 after 2,000.
"""

TURN = re.compile(
    r"<\|(?:im_start|im_end|start_header_id|eot_id|eom_id)\|>|<(?:start|end)_of_turn>|\[/?INST\]"
    # The names of roles are plain text, which is left where a tokenizer drops the special tokens
    # around them. "Ask an assistant" ends a line too, hence no blank before it.
    r"|(?<![ \t])assistant\s*(?:\n|\Z)|(?:^|[\n.!?…»\"”])(?:user|system)\s*\n"
    r"|\n(?:User|Human|Assistant):"
)
"""The beginning or the end of a turn in the chat templates of Llama, Qwen, Gemma, Mistral and
others.
"""

SIGNS = ("limit", "empty", "thinking", "turns", "repetitive")
"""What may be wrong with a single answer; `diagnose` says what each means."""

ADDED = ("answers", *SIGNS, "lines", "lines_in_language")
MEANS = ("zlib", "characters", "words")
"""What is added up, and what is averaged, over the members of a group."""


def diagnose(samples: Iterable[Sample], language: str) -> Diagnostics:
    """Count what may be wrong with the prompts of a task and their answers.

    Args:
        samples: lm-eval's, one for each document and filter. Two keys of them are the engine's:
            `truncated`, how many tokens were cut from the beginning of the prompt, and `finished`,
            for each answer whether it ended by itself; it did not if it was cut at `max_gen_toks`.
        language: the code of the language that answers should be in.

    Returns:
        prompts: their number. truncated: prompts of which the beginning was cut.
        For tasks that generate text, moreover
        answers: their number. limit: those that were cut at the limit. empty: without any text.
        thinking: with `<think>`. turns: with the beginning of another turn. repetitive: those that
        zlib makes smaller by more than REPETITIVE. zlib: that factor, the mean over the answers.
        characters, words: the mean length. languages: number of answers in each language, those
        with at least LONG_ENOUGH words. lines: the lines with that many words; lines_in_language:
        those of them that are in `language`.
    """
    plain = [sample for sample in samples if sample["filter"] == "none"]  # as in scores.py
    found: Diagnostics = {"prompts": len(plain), "truncated": sum(bool(sample.get("truncated")) for sample in plain)}
    written = [sample for sample in plain if isinstance(sample["filtered_resps"][0], str)]
    if not written:
        return found
    texts = [sample["filtered_resps"][0] for sample in written]
    seen = Counter(sign for sample in written for sign in signs(sample))
    lines = [line for text in texts for line in text.splitlines() if is_long(line)]
    language_of = identifier().language
    languages = Counter(language_of(text) for text in texts if is_long(text))
    return found | {
        "answers": len(texts),
        **{sign: seen[sign] for sign in SIGNS},
        "zlib": mean([compression(text) for text in texts]),
        "characters": mean([len(text) for text in texts]),
        "words": mean([len(text.split()) for text in texts]),
        "languages": dict(languages.most_common()),
        "lines": len(lines),
        "lines_in_language": sum(language_of(line) == language for line in lines),
    }


def signs(sample: Sample) -> list[str]:
    """Those of SIGNS that a written answer shows."""
    text = sample["filtered_resps"][0]
    shown = {
        "limit": not all(sample.get("finished", [])),
        "empty": not text.strip(),
        "thinking": "<think>" in text,
        "turns": bool(TURN.search(text)),
        "repetitive": compression(text) > REPETITIVE,
    }
    return [sign for sign in SIGNS if shown[sign]]


def compression(text: str) -> float:
    """By which factor zlib makes a text smaller; below 1 for a text of a few words."""
    content = text.encode("utf-8", errors="surrogatepass")
    return len(content) / len(zlib.compress(content))


def is_long(text: str) -> bool:
    """Whether a text is long enough to know its language."""
    return len(text.split()) >= LONG_ENOUGH


def mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 3)


def added_up(parts: Sequence[Mapping[str, Any]]) -> Diagnostics:
    """The diagnostics of several tasks, such as the members of a group, as if they were one."""
    total = {name: sum(part.get(name, 0) for part in parts) for name in ("prompts", "truncated")}
    written = [part for part in parts if part.get("answers")]
    if not written:
        return total
    total |= {name: sum(part[name] for part in written) for name in ADDED}
    weighted = {name: sum(part[name] * part["answers"] for part in written) for name in MEANS}
    languages = sum((Counter(part["languages"]) for part in written), Counter())
    return total | {
        **{name: round(value / total["answers"], 3) for name, value in weighted.items()},
        "languages": dict(languages.most_common()),
    }
