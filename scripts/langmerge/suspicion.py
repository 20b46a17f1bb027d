"""What is suspicious about the answers behind a score, from the diagnostics that are kept with it.

diagnostics.py counts; this module says from where on a count is worth a look. A remark
changes no score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sign:
    """A sign that something may be wrong.

    Attributes:
        count: key of the diagnostics.
        of: key of the number that the count is a part of.
        above: the share above which it is remarked on.
        words: what the remark says.
    """

    count: str
    of: str
    above: float
    words: str


SIGNS = (
    # The beginning of a prompt is cut: the system message, the beginning of text and the first
    # examples. Even one such prompt is another task.
    Sign("truncated", "prompts", 0, "prompts cut"),
    # Instructions ask for a few long texts, so some answers may reach the limit. A model that does
    # not stop reaches it nearly always.
    Sign("limit", "answers", 0.1, "answers cut at the limit"),
    # A model rarely has nothing to say; a wrong chat template or a stop string at the beginning
    # makes it silent.
    Sign("empty", "answers", 0.05, "empty answers"),
    # The scores read these parts as an answer. No right answer has them, so that a few are enough.
    Sign("thinking", "answers", 0.01, "answers with <think>"),
    Sign("turns", "answers", 0.01, "answers with a second turn"),
    # Texts of the calibration never repeat themselves so much; see diagnostics.REPETITIVE.
    Sign("repetitive", "answers", 0.05, "repetitive answers"),
)

ELSEWHERE = 0.5
"""A score is remarked on if more than this share of its longer answers is in one other language.

Language fidelity is the measure; this is for a model that has changed its language altogether, or a
task in the wrong one.
"""

JUDGED = 10
"""Answers whose language is known, below which nothing is said of it."""


def remarks(language: str, diagnostics: Mapping[str, Any] | None) -> list[str]:
    """What is suspicious, with the share of the prompts or answers: "empty answers 12%".

    Args:
        language: of the task. diagnostics: of its answers, as `diagnose` returns them.
    """
    if not diagnostics:
        return []
    found = []
    for sign in SIGNS:
        total = diagnostics.get(sign.of, 0)
        if total and diagnostics.get(sign.count, 0) / total > sign.above:
            found.append(f"{sign.words} {percent(diagnostics[sign.count] / total)}")
    languages = diagnostics.get("languages", {})
    judged = sum(languages.values())
    if judged >= JUDGED:
        most = max(languages, key=languages.get)
        if most != language and languages[most] / judged > ELSEWHERE:
            found.append(f"answers in {most} {percent(languages[most] / judged)}")
    return found


def percent(share: float) -> str:
    """A share in percent, in as few digits as say something: 0.2%, 34%."""
    return f"{100 * share:.1g}%" if share < 0.01 else f"{100 * share:.0f}%"


def joined(found: Iterable[str]) -> str:
    """Remarks as scores.csv has them."""
    return "; ".join(found)


def kinds(text: str) -> list[str]:
    """The remarks of `joined`, without their percentages."""
    return [remark.rsplit(" ", 1)[0] for remark in text.split("; ") if remark]
