"""Languages, and how each says a meaning, with CLDR's data and `babel`'s public functions."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, cached_property

from babel import Locale, UnknownLocaleError, dates, lists, localedata, numbers, units

from langmerge.errors import UserError
from langmerge.grid.folders import Folders
from langmerge.mini.phrases import VALUES, Meaning, Term
from langmerge.yamls import read_yaml

SECONDS = {"minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400, "month": 30 * 86400, "year": 365 * 86400}
"""Seconds of each field, as `format_timedelta` counts them."""

SAFE_NUMBERS = frozenset(range(10, 100)) - {year // 100 for year in VALUES["year"]}
"""Numbers that no longer number contains.

'5 March' is a part of '15 March', and 'March 19' is a part of 'March 1987'.
"""

LIST_STYLES = {"and": "standard", "or": "or"}


@dataclass(frozen=True)
class Language:
    """A language of the run, as its file describes it.

    Attributes:
        code: name of its file in config/languages/.
        name: English name, for prompts.
        locale: CLDR locale.
        mt_sources: codes of the languages that it is translated from.
    """

    code: str
    name: str
    locale: str
    mt_sources: tuple[str, ...]

    @classmethod
    def load(cls, folders: Folders, code: str) -> Language:
        """Read languages/<code>.yaml.

        Raises:
            UserError: no such file, a key missing, or a locale that babel does not have.
        """
        path = folders.find(f"languages/{code}.yaml")
        if path is None:
            searched = " and ".join(str(folder / "languages") for folder in folders)
            raise UserError(
                f"{code}.yaml: no such file in {searched}. A language needs one, with its name, locale and mt_sources."
            )
        content = read_yaml(path)
        missing = {"name", "locale", "mt_sources"} - set(content if isinstance(content, dict) else ())
        if missing:
            raise UserError(f"{path} lacks {', '.join(sorted(missing))}.")
        language = cls(code, content["name"], str(content["locale"]), tuple(content["mt_sources"]))
        try:
            isolated_locale(language.locale)
        except (UnknownLocaleError, ValueError) as error:
            raise UserError(f"{path}: locale: {language.locale!r} is not a CLDR locale that babel has.") from error
        return language

    @cache  # noqa: B019 - languages live as long as the program
    def say(self, meaning: Meaning) -> str | None:
        """The meaning in this language, or None if CLDR lacks a word for it."""
        text = RENDERERS[meaning.template](self, meaning)
        return None if text is None else " ".join(text.split())

    def term(self, term: Term) -> str | None:
        """A slot by itself: a name, or a unit with the number 15. None if CLDR lacks it."""
        match term.kind:
            case "unit":
                return self.say(Meaning("quantity", "", (Term("number", 15), term)))
            case "currency":
                return self.say(Meaning("amount", "", (Term("number", 15), term)))
            case "field":
                return self.say(Meaning("span", "", (Term("number", 15), term)))
            case "territory" | "language" | "weekday" | "month":
                return self.say(Meaning("word", "", (term,)))
            case _:
                return str(term.value)

    @cached_property
    def ambiguous(self) -> frozenset[Term]:
        """The terms whose name is the beginning or the end of another name.

        Such as 'Niger' and 'Nigeria', '15 degrees' and '15 degrees Celsius'.
        """
        kinds = ("territory", "language", "currency", "unit", "field", "weekday", "month")
        terms = [Term(kind, value) for kind in kinds for value in VALUES[kind]]
        names = [(term, name) for term in terms if (name := self.term(term)) is not None]
        return frozenset(
            term for term, name in names if any(begins_or_ends(name, other) and term != owner for owner, other in names)
        )

    def is_unambiguous(self, meaning: Meaning) -> bool:
        """Whether no other meaning's text can contain this one's.

        That is so if its names are neither the beginning nor the end of another name, and its
        numbers are `SAFE_NUMBERS`.
        """
        return all(
            term.value in SAFE_NUMBERS if term.kind in ("number", "day", "hour") else term not in self.ambiguous
            for term in meaning.terms()
        )


def begins_or_ends(part: str, whole: str) -> bool:
    return whole.startswith(part) or whole.endswith(part)


@cache
def isolated_locale(name: str) -> Locale:
    """A babel locale that shares no data with others.

    In babel, a locale shares the dictionaries that it inherits with its parent, and babel writes
    into them when it resolves an alias. After Swahili was used, Occitan's weekdays are Swahili.
    With a copy of its data, a language's text depends on nothing but the language.
    """
    locale = Locale.parse(name)
    data = localedata.load(str(locale))
    data.update(copy.deepcopy(dict(data)))
    return locale


def say_word(language: Language, meaning: Meaning) -> str | None:
    (term,) = meaning.slots
    locale = isolated_locale(language.locale)
    match term.kind:
        case "territory":
            name = locale.territories.get(term.value)
        case "language":
            name = locale.languages.get(term.value)
        case "weekday":
            name = dates.get_day_names("wide", "stand-alone", locale).get(term.value)
        case "month":
            name = dates.get_month_names("wide", "stand-alone", locale).get(term.value)
        case kind:
            raise ValueError(kind)
    return None if name is None or name == term.value else name


def say_quantity(language: Language, meaning: Meaning) -> str | None:
    number, unit = meaning.slots
    text = units.format_unit(number.value, unit.value, "long", locale=isolated_locale(language.locale))
    # Where CLDR has no name, babel writes the unit's identifier.
    return None if unit.value in text else text


def timedelta_text(language: Language, meaning: Meaning, **arguments) -> str | None:
    number, field = meaning.slots
    sign = -1 if meaning.style == "past" else 1
    text = dates.format_timedelta(
        timedelta(seconds=sign * number.value * SECONDS[field.value]),
        granularity=field.value,
        threshold=1e9,
        locale=isolated_locale(language.locale),
        **arguments,
    )
    # Where the language has no pattern, CLDR's root locale gives '+3 d'.
    return None if text[0] in "+-−" else text


def say_span(language: Language, meaning: Meaning) -> str | None:
    return timedelta_text(language, meaning)


def say_relative(language: Language, meaning: Meaning) -> str | None:
    return timedelta_text(language, meaning, add_direction=True)


def say_amount(language: Language, meaning: Meaning) -> str | None:
    number, currency = meaning.slots
    locale = isolated_locale(language.locale)
    if currency.value not in locale.currencies:
        return None
    return numbers.format_currency(
        number.value, currency.value, locale=locale, format_type="name", currency_digits=False
    )


def say_percent(language: Language, meaning: Meaning) -> str:
    return numbers.format_percent(meaning.slots[0].value / 100, locale=isolated_locale(language.locale))


def say_time(language: Language, meaning: Meaning) -> str:
    hour, minute = meaning.slots
    return dates.format_skeleton(
        "Hm", datetime(2000, 1, 1, hour.value, minute.value), locale=isolated_locale(language.locale)
    )


def say_regional(language: Language, meaning: Meaning) -> str | None:
    """A language as spoken in a territory, in the form that `Locale.get_display_name` gives it."""
    names = [language.say(Meaning("word", "", (term,))) for term in meaning.slots]
    return None if None in names else "{} ({})".format(*names)


def date_value(meaning: Meaning) -> datetime:
    slots = {term.kind: term.value for term in meaning.slots}
    return datetime(slots.get("year", 2001), slots["month"], slots.get("day", 1))


def say_date(language: Language, meaning: Meaning) -> str:
    return dates.format_date(
        date_value(meaning), date_pattern(language, meaning), locale=isolated_locale(language.locale)
    )


def date_pattern(language: Language, meaning: Meaning) -> str:
    """CLDR's pattern of a date's template and style, such as `d MMMM y`."""
    locale = isolated_locale(language.locale)
    skeleton = {"month_year": "yMMMM", "day_month": "MMMMd"}.get(
        meaning.template if meaning.template != "date" else meaning.style
    )
    found = locale.datetime_skeletons.get(skeleton) if skeleton else locale.date_formats[meaning.style]
    return (found or locale.date_formats["long"]).pattern


def say_interval(language: Language, meaning: Meaning) -> str:
    first, last = (date_value(day) for day in meaning.slots)
    return dates.format_interval(first, last, "MMMd", locale=isolated_locale(language.locale))


def say_list(language: Language, meaning: Meaning) -> str | None:
    items = [language.say(item) for item in meaning.slots]
    return (
        None
        if None in items
        else lists.format_list(items, LIST_STYLES[meaning.style], locale=isolated_locale(language.locale))
    )


def say_sequence(language: Language, meaning: Meaning) -> str | None:
    items = [language.say(item) for item in meaning.slots]
    return None if None in items else SEPARATOR.join(items)


SEPARATOR = ", "
"""Between the members of a sequence. Dates and lists may have commas too."""

RENDERERS = {
    "word": say_word,
    "quantity": say_quantity,
    "span": say_span,
    "relative": say_relative,
    "amount": say_amount,
    "percent": say_percent,
    "time": say_time,
    "regional": say_regional,
    "date": say_date,
    "month_year": say_date,
    "interval": say_interval,
    "list": say_list,
    "sequence": say_sequence,
}
