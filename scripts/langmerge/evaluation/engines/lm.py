"""lm-eval's view of an engine: text becomes tokens, and requests become documents."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import jinja2
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, handle_non_serializable, hash_string, make_disjoint_window

from langmerge.errors import UserError
from langmerge.evaluation.engines.protocol import Engine, Generated, Generating, Scoring
from langmerge.evaluation.settings import DATE
from langmerge.evaluation.units import SAMPLING

Scored = tuple[float, bool]
Pair = tuple[Hashable, list[int], list[int]]

MAX_TOKENS = 256
"""lm-eval's default for the length of an answer."""

KNOWN = {"until", "do_sample", "temperature", "top_p", "top_k", "max_gen_toks", "max_new_tokens", "max_tokens"}
NEUTRAL = {"num_beams": 1, "num_return_sequences": 1, "repetition_penalty": 1.0, "min_p": 0.0, "use_cache": True}


@dataclass
class Note:
    """What is known of one document besides its score.

    Attributes:
        truncated: how many tokens of its prompt were cut off, at the beginning; 0 if it fitted.
        answers: as they were generated.
    """

    truncated: int = 0
    answers: list[Generated] = field(default_factory=list)


class EngineLM(TemplateLM):
    """An engine as lm-eval's class of a model.

    Prompts and tokens are those of lm-eval's own class for transformers.

    Args:
        engine: see `protocol.Engine`.
        add_bos_token: whether prompts begin with the beginning-of-sequence token; by default, what
            the tokenizer says.

    Attributes:
        notes: (task, number of the document in it) -> Note, since the last `begin`.
    """

    def __init__(self, engine: Engine, add_bos_token: bool | None = None) -> None:
        super().__init__()
        self.engine = engine
        self.tokenizer = engine.tokenizer
        self.add_bos_token = add_bos_token
        self.begin(None, {})

    def begin(self, seed: int | None, template: dict[str, Any]) -> None:
        """Begin a unit.

        Args:
            seed: what the seeds of its documents are derived from.
            template: arguments of the chat template.
        """
        self.seed = seed
        self.template = template
        self.notes: dict[tuple[str, int], Note] = defaultdict(Note)

    # ---- tokens

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """What a text without context is conditioned on."""
        bos = self.tokenizer.bos_token_id
        return self.tokenizer.eos_token_id if bos is None else bos

    @property
    def tokenizer_name(self) -> str:
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        return self.encode([string], add_special_tokens)[0]

    def encode(self, texts: Sequence[str], special: bool | None = None) -> list[list[int]]:
        """The tokens of texts.

        Args:
            special: whether the tokenizer adds special tokens. By default it does what its settings
                say, except where a text begins with the beginning-of-sequence token already, as a
                chat template writes it.
        """
        begun = self.tokenizer.decode(self.prefix_token_id)
        asked: dict[bool | None, list[int]] = defaultdict(list)
        for number, text in enumerate(texts):
            asked[False if special is None and text.startswith(begun) else special].append(number)
        found: dict[int, list[int]] = {}
        for flag, numbers in asked.items():
            flag = self.add_bos_token if flag is None else flag
            arguments = {} if flag is None else {"add_special_tokens": flag}
            encoded = self.tokenizer([texts[number] for number in numbers], verbose=False, **arguments)["input_ids"]
            found.update(zip(numbers, encoded, strict=True))
        return [found[number] for number in range(len(texts))]

    # ---- prompts

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The prompt of a conversation, without its system message if the template has none.

        Raises:
            UserError: the tokenizer has no chat template.
        """
        if not self.tokenizer.chat_template:
            raise UserError(
                f"{self.tokenizer.name_or_path} has no chat template (chat_template.jinja), but this task asks "
                f"{len(chat_history)} turns through it. Add that of the model which it was made from, or ask in plain text: "
                f"without --chat-template, or `chat_template: false` in the task's entry."
            )
        try:
            return self.rendered(chat_history, add_generation_prompt)
        except jinja2.exceptions.TemplateError:
            turns = [turn for turn in chat_history if turn["role"] != "system"]
            if len(turns) == len(chat_history):
                raise
            return self.rendered(turns, add_generation_prompt)

    def rendered(self, turns: list[dict[str, str]], add_generation_prompt: bool) -> str:
        template = self.tokenizer.get_chat_template()
        clock = {"chat_template": stopped_clock() + template} if "strftime_now" in template else {}
        return self.tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **clock,
            **self.template,
        )

    # ---- scores

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Scored]:
        pairs = [moved(*request.args) for request in requests]
        contexts = dict.fromkeys(context for context, _ in pairs if context)
        tokens = dict(zip(contexts, self.encode(list(contexts)), strict=True))
        whole = self.encode([context + continuation for context, continuation in pairs if context])
        joined = iter(whole)
        asked: list[Pair] = []
        for request, (context, continuation) in zip(requests, pairs, strict=True):
            if context:
                asked.append((place(request), tokens[context], next(joined)[len(tokens[context]) :]))
                continue
            ids = self.tok_encode(continuation, add_special_tokens=False)
            begun = ids[:1] == [self.prefix_token_id]
            asked.append((place(request), [self.prefix_token_id], ids[1:] if begun else ids))
        return self.scored(asked)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        asked: list[Pair] = []
        for number, request in enumerate(requests):
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.engine.max_length,
                context_len=1,
            )
            asked += [(number, *make_disjoint_window(window)) for window in windows]
        sums = [0.0] * len(requests)
        for (number, _, _), (value, _) in zip(asked, self.scored(asked), strict=True):
            sums[number] += value
        return sums

    def _loglikelihood_tokens(self, requests: list[Any], **_: Any) -> list[Scored]:
        return self.scored([(number, *request[1:]) for number, request in enumerate(requests)])

    def scored(self, asked: list[Pair]) -> list[Scored]:
        """Scores of (document, context, continuation): one request per document and context."""
        groups: dict[tuple[Hashable, tuple[int, ...]], list[int]] = defaultdict(list)
        for number, (document, context, continuation) in enumerate(asked):
            groups[document, tuple(self.fitting(document, context, continuation))].append(number)
        requests = [
            Scoring(list(context), [asked[number][2] for number in numbers]) for (_, context), numbers in groups.items()
        ]
        found: dict[int, Scored] = {}
        for numbers, answers in zip(groups.values(), self.engine.score(requests), strict=True):
            found.update(zip(numbers, answers, strict=True))
        return [found[number] for number in range(len(asked))]

    def fitting(self, document: Hashable, context: list[int], continuation: list[int]) -> list[int]:
        """The context without what is too much at its beginning, which is noted.

        Raises:
            UserError: the continuation is empty, or too long by itself.
        """
        if not 1 <= len(continuation) <= self.engine.max_length:
            raise UserError(
                f"{document}: a choice of {len(continuation)} tokens cannot be scored; it must have 1 to "
                f"{self.engine.max_length} (max_length)."
            )
        return self.cut(document, context, self.engine.max_length + 1 - len(continuation))

    def cut(self, document: Hashable, tokens: list[int], room: int) -> list[int]:
        excess = max(len(tokens) - room, 0)
        if excess:
            self.notes[document].truncated = max(self.notes[document].truncated, excess)
        return tokens[excess:]

    # ---- answers

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        asked = []
        before: dict[int, int] = defaultdict(int)
        prompts = self.encode([request.args[0] for request in requests])
        for request, prompt in zip(requests, prompts, strict=True):
            settings = generation(request.args[1])
            room = self.engine.max_length - settings["max_tokens"]
            if room < 1:
                raise UserError(
                    f"{request.task_name}: answers of {settings['max_tokens']} tokens (max_gen_toks) leave no room for a "
                    f"prompt: max_length is {self.engine.max_length}."
                )
            seed = document_seed(self.seed, request, before[id(request)])
            before[id(request)] += 1
            asked.append(Generating(prompt=self.cut(place(request), prompt, room), seed=seed, **settings))
        answers = self.engine.generate(asked)
        for request, answer in zip(requests, answers, strict=True):
            self.notes[place(request)].answers.append(answer)
        return [answer.text for answer in answers]


def place(request: Instance) -> tuple[str, int]:
    """Which document a request belongs to."""
    return request.task_name, request.doc_id


def moved(context: str, continuation: str) -> tuple[str, str]:
    """The pair with the blanks at the end of the context at the beginning of the continuation.

    Tokenizers put a blank before a word into the word's token.
    """
    bare = context.rstrip()
    return (bare, context[len(bare) :] + continuation) if bare else (context, continuation)


def document_seed(seed: int | None, request: Instance, repeat: int) -> int | None:
    """The seed of one answer.

    It depends on the seed of the unit, the task and the document only, so it is the same in any
    order and for any part of the documents.

    Args:
        repeat: which answer to this document it is, for tasks that ask more than once.
    """
    if seed is None:
        return None
    text = json.dumps(request.doc, indent=2, default=handle_non_serializable, ensure_ascii=False)
    content = f"{seed}\0{request.task_name}\0{hash_string(text)}\0{repeat}"
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:7], "big")


def generation(settings: dict[str, Any]) -> dict[str, Any]:
    """lm-eval's settings of generation, complete, in the words of `Generating`.

    Raises:
        UserError: one of them is unknown, or sampling has no temperature.
    """
    unknown = {name for name, value in settings.items() if name not in KNOWN and NEUTRAL.get(name) != value}
    if unknown:
        raise UserError(f"generation: {', '.join(sorted(unknown))}: unknown; expected {', '.join(sorted(KNOWN))}.")
    until = settings.get("until") or []
    temperature = float(settings.get("temperature", SAMPLING["temperature"]))
    if settings.get("do_sample") is False:
        temperature = 0.0
    if settings.get("do_sample") and temperature <= 0:
        raise UserError(f"generation: do_sample with temperature {temperature}; give one above 0, or do_sample: false.")
    lengths = [settings[name] for name in ("max_gen_toks", "max_new_tokens", "max_tokens") if settings.get(name)]
    return {
        "until": [until] if isinstance(until, str) else list(until),
        "max_tokens": int(lengths[0]) if lengths else MAX_TOKENS,
        "temperature": temperature,
        "top_p": float(settings.get("top_p", SAMPLING["top_p"])),
        "top_k": max(int(settings.get("top_k", SAMPLING["top_k"])), 0),
    }


def stopped_clock() -> str:
    """The beginning of a chat template in which `strftime_now` always tells `settings.DATE`.

    transformers offers templates that function, which tells today's date and time: what some write
    into prompts even if they are given a `date_string`. A macro of the same name hides it.
    """
    now = datetime.strptime(DATE, "%d %b %Y")
    replaced = "".join(f" | replace('%{letter}', '{now.strftime('%' + letter)}')" for letter in "aAbBdmyYHIMSpj")
    return "{%- macro strftime_now(format) -%}{{ format" + replaced + " }}{%- endmacro +%}"
