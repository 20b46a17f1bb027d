"""Lines of invented words, such as 'Tranóle eta Muki', in place of an unknown language."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from langmerge.mini.phrases import codes


@dataclass(frozen=True)
class Content:
    """What an instruction is about.

    Attributes:
        text: one line.
        items: the items if it is a list, else the line itself.
    """

    text: str
    items: tuple[str, ...]


ONSETS = codes("b c d f g h j k l m n p r s t v x z ch ll tx sh tr br gr st ñ ç")
VOWELS = codes("a a e e i i o o u u á é í ó ú à è ò ü ï â ê ô")
JOINTS = ("and", "or", "eta", "edo", "i", "o", "e", "y", "ou", "a", "na", "neu")


def invented_word(rng: Random) -> str:
    text = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.randint(2, 3))) + rng.choice(
        ("", "", "n", "s", "r", "l")
    )
    return text.capitalize() if rng.random() < 0.6 else text


def invented_content(rng: Random) -> Content:
    """A list of invented words, or one with a number or another one in brackets."""
    items = tuple(invented_word(rng) for _ in range(rng.choice((1, 2, 2, 3))))
    if len(items) == 1:
        number = rng.randint(10, 99)
        text = rng.choice((f"{number} {items[0]}", f"{items[0]} {number}", f"{items[0]} ({invented_word(rng)})"))
        return Content(text, (text,))
    return Content(f"{', '.join(items[:-1])} {rng.choice(JOINTS)} {items[-1]}", items)
