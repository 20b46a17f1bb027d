"""What can be said in the miniature world, independent of language: meanings and their splits.

A `Meaning` is a template with slots, such as quantity(15, kilometre) or list(and, Serbia, Peru).
`cldr.Language.say` puts it into words.

**Splits are by combinations of words, never by words.** Every meaning asserts some unordered
*pairs* of slots (`pairs`): the number and the unit of a quantity, the day and the month of a date,
each two heads of a list. A hash assigns each pair to train, dev or test, the same for all languages
and seeds. A meaning is for training if all its pairs are. It is for test if it has a test pair and
no dev pair, and for dev if it has a dev pair and no test pair. A meaning with both is never used.

It follows that no dev or test phrase occurs in a training text of any language, not even as a part
of a longer phrase: the longer phrase would have the slots of the shorter one and so its held-out
pair. For the same reason dev and test share nothing. The argument needs four things:

- A template asserts at least the pairs of every phrase that its text can contain. So a date with a
  year asserts day and month, and month and year. Two list items are paired by their *heads*:
  "Monday or Spanish (Mexico)" pairs Monday with Spanish, because "Monday or Spanish" is a part of
  it.
- A text is never part of another one because of a shorter name or number. So dev and test phrases
  have numbers of two digits (the only longer numbers in training are years, which begin with 19 or
  20: these two are left out), and names that are neither the beginning nor the end of another name
  in their language (`cldr.Language.is_unambiguous`).
- Phrases are separated by line ends, or are in sentences of another form. No phrase has a line end.
- A text has one meaning. Two meanings with the same text would be two names with the same text,
  which `is_unambiguous` excludes.

The same codes are in the same split in every language. One case is left: a text with two meanings
in two languages, where both names coincide. The generator drops held-out phrases that occur in the
training text of their own language, which includes its sources' languages.
tests/mini/test_splits.py looks for all others in seven languages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations, pairwise
from random import Random
from typing import NamedTuple

TEST_SHARE = 1 / 12
DEV_SHARE = 1 / 32


def codes(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TERRITORIES = codes("AR AT BE BR CH CN CU DE EG FI GR HU IT JP KE MX NO PE PL RU SE TR")
LANGUAGES = codes("ar ca de el en es eu fr gl it ja pl pt ru")
CURRENCIES = codes("CHF EUR GBP INR JPY USD")
UNITS = codes("length-meter length-kilometer mass-gram mass-kilogram volume-liter area-hectare digital-byte power-watt")
FIELDS = ("minute", "hour", "day", "week", "month", "year")
VALUES: dict[str, tuple[str | int, ...]] = {
    "territory": TERRITORIES,
    "language": LANGUAGES,
    "currency": CURRENCIES,
    "unit": UNITS,
    "field": FIELDS,
    "weekday": tuple(range(7)),
    "month": tuple(range(1, 13)),
    "day": tuple(range(1, 29)),
    "year": tuple(range(1980, 2040)),
    "number": tuple(range(2, 100)),
    "hour": tuple(range(24)),
    "minute": (10, 15, 20, 30, 40, 45, 50),
}
"""The values of each kind of slot, CLDR codes or numbers. A language uses those it can name."""

DATE_STYLES = ("long", "day_month", "medium", "full")


class Term(NamedTuple):
    """A slot: its kind, which is a key of `VALUES`, and its value."""

    kind: str
    value: str | int


class Meaning(NamedTuple):
    """A template, its variant (list style, date style, tense), and its slots.

    Slots are terms or, in lists and sequences, meanings.
    """

    template: str
    style: str
    slots: tuple

    def terms(self) -> Iterator[Term]:
        """All terms in order, with those of nested meanings."""
        for slot in self.slots:
            if isinstance(slot, Meaning):
                yield from slot.terms()
            else:
                yield slot

    def replace(self, index: int, term: Term) -> Meaning:
        """The same meaning with another term at `index` of `terms()`."""
        terms = list(self.terms())
        terms[index] = term
        return self.with_terms(iter(terms))

    def with_terms(self, terms: Iterator[Term]) -> Meaning:
        """The same template with other terms, in the order of `terms()`."""
        slots = tuple(slot.with_terms(terms) if isinstance(slot, Meaning) else next(terms) for slot in self.slots)
        return self._replace(slots=slots)

    @property
    def head(self) -> Term:
        """The slot by which a list item is paired. Longer and shorter forms of the item have it."""
        return self.slots[HEADS.get(self.template, 0)]


HEADS = {"quantity": 1, "span": 1, "relative": 1, "amount": 1, "date": 1}


@cache
def pair_split(pair: frozenset[Term]) -> str:
    """The split of two slots used together, the same in every language and for every seed."""
    text = "|".join(sorted(f"{kind}:{value}" for kind, value in pair))
    position = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64
    return "test" if position < TEST_SHARE else "dev" if position < TEST_SHARE + DEV_SHARE else "train"


def pairs(meaning: Meaning) -> set[frozenset[Term]]:
    """The pairs of slots that a meaning asserts (see the top of this file)."""
    inner = [slot for slot in meaning.slots if isinstance(slot, Meaning)]
    if not inner:
        return {frozenset(pair) for pair in pairwise(meaning.slots)}
    found = set().union(*(pairs(slot) for slot in inner))
    if meaning.template != "sequence":
        found |= {frozenset(pair) for pair in combinations([slot.head for slot in inner], 2)}
    return {pair for pair in found if len(pair) == 2}


def split(meaning: Meaning) -> str | None:
    """`train`, `dev` or `test`. None for a meaning that has pairs of both dev and test."""
    found = {pair_split(pair) for pair in pairs(meaning)}
    if {"dev", "test"} <= found:
        return None
    return "dev" if "dev" in found else "test" if "test" in found else "train"


def draw(kind: str, rng: Random) -> Term:
    return Term(kind, rng.choice(VALUES[kind]))


def word(kind: str, rng: Random) -> Meaning:
    """A name by itself. It has no pairs, so it is for training; test phrases combine such words."""
    return Meaning("word", "", (draw(kind, rng),))


def quantity(rng: Random) -> Meaning:
    return Meaning("quantity", "", (draw("number", rng), draw("unit", rng)))


def span(rng: Random) -> Meaning:
    return Meaning("span", "", (draw("number", rng), draw("field", rng)))


def relative(rng: Random) -> Meaning:
    return Meaning("relative", rng.choice(("future", "past")), (draw("number", rng), draw("field", rng)))


def amount(rng: Random) -> Meaning:
    return Meaning("amount", "", (draw("number", rng), draw("currency", rng)))


def percent(rng: Random) -> Meaning:
    return Meaning("percent", "", (draw("number", rng),))


def time(rng: Random) -> Meaning:
    return Meaning("time", "", (draw("hour", rng), draw("minute", rng)))


def regional(rng: Random) -> Meaning:
    return Meaning("regional", "", (draw("language", rng), draw("territory", rng)))


def date(rng: Random) -> Meaning:
    style = rng.choice(DATE_STYLES)
    slots = (draw("day", rng), draw("month", rng), draw("year", rng))
    return Meaning("date", style, slots[:2] if style == "day_month" else slots)


def month_year(rng: Random) -> Meaning:
    return Meaning("month_year", "", (draw("month", rng), draw("year", rng)))


def interval(rng: Random) -> Meaning:
    """From a day to a day in a later month: '3 March - 5 April'."""
    first, second = sorted(rng.sample(VALUES["month"], 2))
    days = [Meaning("date", "day_month", (draw("day", rng), Term("month", month))) for month in (first, second)]
    return Meaning("interval", "", tuple(days))


def words(rng: Random) -> Meaning:
    """A list of names of one kind: 'Peru, Serbia or Ghana'."""
    kind = rng.choices(("territory", "language", "weekday", "month"), (6, 4, 2, 2))[0]
    values = rng.sample(VALUES[kind], rng.choice((2, 2, 3)))
    return Meaning(
        "list", rng.choice(("and", "or")), tuple(Meaning("word", "", (Term(kind, value),)) for value in values)
    )


def mixed(rng: Random) -> Meaning:
    """A list of two items of different kinds: '15 kilometres and Monday'."""
    makers = (
        quantity,
        span,
        relative,
        amount,
        percent,
        time,
        lambda r: word(r.choice(("territory", "language", "weekday", "month")), r),
    )
    return Meaning("list", rng.choice(("and", "or")), tuple(maker(rng) for maker in rng.sample(makers, 2)))


PHRASES: dict[Callable[[Random], Meaning], int] = {
    words: 30,
    mixed: 14,
    date: 14,
    relative: 10,
    quantity: 9,
    regional: 8,
    amount: 5,
    span: 4,
    month_year: 3,
    interval: 3,
}
"""The templates and their relative frequencies."""


def phrase(rng: Random) -> Meaning:
    return rng.choices(list(PHRASES), list(PHRASES.values()))[0](rng)


STEPS = {"day": (1, 2, 3, 5, -1, -2), "month": (1, 2, 3, -1), "year": (1, 2, 5), "word": (1, 2, -1)}
"""Differences between the members of a sequence.

They are in days, months or years, or in positions in the week or the year.
"""

LENGTH = 4
"""Members of a sequence, including the one to be guessed."""


def later(meaning: Meaning, kind: str, step: int) -> Meaning | None:
    """The meaning with its slot of this kind moved on by `step`, or None at the end of the values.

    Months and weekdays without a year start again from the beginning.
    """
    index, term = next((index, term) for index, term in enumerate(meaning.slots) if term.kind == kind)
    values = VALUES[kind]
    position = values.index(term.value) + step
    if kind in ("month", "weekday") and all(slot.kind != "year" for slot in meaning.slots):
        position %= len(values)
    elif not 0 <= position < len(values):
        return None
    return meaning.replace(index, Term(kind, values[position]))


def sequence(rng: Random) -> Meaning:
    """Dates, months or weekdays at a fixed step: '12 March, 14 March, 16 March, 18 March'."""
    while True:
        member, kind = rng.choice(
            ((date, "day"), (date, "day"), (date, "month"), (month_year, "year"), (word, "weekday"), (word, "month"))
        )
        first = word(kind, rng) if member is word else member(rng)
        if first.style == "full":
            continue  # four such dates are too long for a small model's context
        members = run(first, kind, rng.choice(STEPS["word" if member is word else kind]))
        if members:
            return Meaning("sequence", "", members)


def run(first: Meaning, kind: str, step: int) -> tuple[Meaning, ...] | None:
    members = [first]
    while len(members) < LENGTH:
        following = later(members[-1], kind, step)
        if following is None:
            return None
        members.append(following)
    return tuple(members)
