"""The filters of a corpus: each a named profile of a rule, with where its numbers come from.

`PROFILES` is the registry. config/README.md shows it; the schema of a corpus reads its names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.filters.base_filter import BaseFilter

from langmerge.corpora import dolma
from langmerge.corpora.words import IcuWords
from langmerge.errors import UserError
from langmerge.identification import identifier


class TopLevelDomain(BaseFilter):
    """Keeps texts of addresses under some top-level domains."""

    def __init__(self, domains: Iterable[str]) -> None:
        super().__init__()
        self.domains = frozenset(domains)

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        if "url" not in doc.metadata:
            return False, "no address"
        try:
            host = urlsplit(doc.metadata["url"]).hostname or ""
        except ValueError:
            return False, "address that cannot be read"
        return host.rpartition(".")[2].lower() in self.domains or (False, "another domain")


class Language(BaseFilter):
    """Keeps texts that py3langid takes for the corpus's language, among all that it knows.

    Of a text longer than three EXCERPTs it reads its beginning, middle and end. datatrove's filter
    needs fastText and downloads its model.
    """

    name = "language: py3langid"

    def __init__(self, language: str) -> None:
        super().__init__()
        self.language = language

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        found = identifier().language(sample(doc.text))
        return found == self.language or (False, f"in {found}" if found else "no letters")


EXCERPT = 500
"""Characters. py3langid reads about one MB per second, less than all other filters together."""


def sample(text: str) -> str:
    """A text's beginning, middle and end; a short text as a whole."""
    if len(text) <= 3 * EXCERPT:
        return text
    middle = (len(text) - EXCERPT) // 2
    return "\n".join([text[:EXCERPT], text[middle : middle + EXCERPT], text[-EXCERPT:]])


@dataclass(frozen=True)
class Profile:
    """A rule with its numbers.

    Attributes:
        source: where they come from.
        make: the filter, of the language's code and its stop words.
        needs_stop_words: whether it uses them.
    """

    source: str
    make: Callable[[str, list[str]], BaseFilter]
    needs_stop_words: bool = False


PROFILES: dict[str, dict[str, Profile]] = {
    "language": {
        "py3langid": Profile("py3langid 0.4.0", lambda code, stop_words: Language(code)),
    },
    "gopher_quality": {
        "dolma": Profile(
            "dolma 1.2.1, tagger gopher_v2, thresholds of Dolma CCCC",
            lambda code, stop_words: dolma.GopherQuality(stop_words),
            needs_stop_words=True,
        ),
        "datatrove": Profile(
            "datatrove 0.10.1, GopherQualityFilter",
            lambda code, stop_words: GopherQualityFilter(stop_words=stop_words, language=IcuWords(code)),
            needs_stop_words=True,
        ),
    },
    "gopher_repetition": {
        "dolma": Profile(
            "dolma 1.2.1, tagger gopher_v2, thresholds of Dolma CCCC",
            lambda code, stop_words: dolma.GopherRepetition(),
        ),
        "datatrove": Profile(
            "datatrove 0.10.1, GopherRepetitionFilter",
            lambda code, stop_words: GopherRepetitionFilter(language=IcuWords(code)),
        ),
    },
    "c4": {
        "dolma": Profile("dolma 1.2.1, tagger c4_v2, rules of Dolma CCCC", lambda code, stop_words: dolma.C4()),
        "datatrove": Profile(
            "datatrove 0.10.1, C4QualityFilter, which also takes lines out of a text",
            lambda code, stop_words: C4QualityFilter(language=IcuWords(code)),
        ),
    },
}


def filters(settings: list[dict[str, Any]], language: str, stop_words: list[str], source: str) -> list[BaseFilter]:
    """The filters that a corpus names, in its order.

    Args:
        settings: such as [{"top_level_domain": ["eus"]}, {"c4": "dolma"}].
        source: how messages call the corpus's file.

    Raises:
        UserError: a rule needs stop words and the language has none, or py3langid does not know
            the language.
    """
    made: list[BaseFilter] = []
    for setting in settings:
        ((rule, value),) = setting.items()
        if rule == "top_level_domain":
            made.append(named(TopLevelDomain(value), f"{rule}: {', '.join(sorted(value))}"))
            continue
        profile = PROFILES[rule][value]
        if profile.needs_stop_words and not stop_words:
            raise UserError(
                f"{source}: filters: {rule}: {value} needs `stop_words` in the file of the language {language!r}: some "
                "of its most frequent words."
            )
        if rule == "language" and language not in identifier().known:
            raise UserError(
                f"{source}: filters: language: py3langid does not know {language!r}. Leave this filter out, or "
                "choose texts that are known to be in the language."
            )
        made.append(named(profile.make(language, stop_words), f"{rule}: {value}"))
    return made


def named(step: BaseFilter, name: str) -> BaseFilter:
    """A filter whose drops are counted under a name."""
    step.name = name
    step.stats.name = name
    return step
