"""Which of some languages a text is in.

By py3langid, a naive Bayes classifier over byte n-grams, restricted to candidates. How often it is
right, by language and length, is in docs/benchmarks (`tests/benchmarks/bench_identification.py`
measures it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

OTHER_SCRIPTS = ("ar", "bn", "el", "he", "hi", "ja", "ka", "ko", "ru", "ta", "th", "zh")
"""Languages that are candidates beside those of a run, one for each common script.

Without them, a Chinese answer would count as one of the run's languages. They are no candidates for
a text in Latin letters.
"""

LATIN = re.compile(r"[A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]")

NO_LANGUAGE = ""
"""Of a text without letters."""


class Identifier:
    """Decides which of its candidates a text is in.

    A change of its decisions must raise the number of `derive` in semantics.py.
    """

    def __init__(self, languages: Iterable[str] | None = None) -> None:
        """Load the classifier, which takes about a second for the first of them in a process.

        Args:
            languages: ISO 639-1 codes, which OTHER_SCRIPTS are added to; None: all languages that
                the classifier knows. Codes that it does not know are left out.
        """
        # Imported here because few commands need it, and because its model takes a second to load.
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
        self.known = frozenset(self._identifier.labels)
        self._others: frozenset[str] = frozenset()
        if languages is not None:
            self._others = self.known & {*OTHER_SCRIPTS} - {*languages}
            self._identifier.set_languages(self.known & {*languages} | self._others)

    def language(self, text: str) -> str:
        """The code of the language that a text is most likely in, NO_LANGUAGE without letters.

        Addresses on the web and placeholders in brackets, which are in no language, do not count.
        """
        plain = re.sub(r"\S+://\S+|\[[^\]\n]*\]", " ", text)
        if not any(map(str.isalpha, plain)):
            return NO_LANGUAGE
        found = self._identifier.classify(plain)[0]
        if found not in self._others or not is_latin(plain):
            return found
        ranked = (code for code, _ in self._identifier.rank(plain) if code not in self._others)
        return next(ranked, NO_LANGUAGE)


def is_latin(text: str) -> bool:
    """Whether at least half of a text's letters are Latin."""
    return 2 * len(LATIN.findall(text)) >= sum(map(str.isalpha, text))


@cache
def identifier(languages: tuple[str, ...] | None = None) -> Identifier:
    """The Identifier of some candidates, loaded once per process."""
    return Identifier(languages)
