"""Words of a text in any language, for datatrove's filters and near duplicates.

datatrove's own splitters need Stanza, which downloads models, for Galician, Welsh and others, and
spaCy for the rest. ICU knows the rules of all of them.
"""

from __future__ import annotations

from datatrove.utils.word_tokenizers import WordTokenizer
from icu4py.breakers import SentenceBreaker

from langmerge.words import split_words


class IcuWords(WordTokenizer):
    """Words and sentences by Unicode's rules (UAX #29), tailored to a language by ICU.

    datatrove takes it wherever it takes the name of a language. Equal for the same language, so
    that datatrove splits a text once for all filters.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IcuWords) and other.language == self.language

    def __hash__(self) -> int:
        return hash(self.language)

    def word_tokenize(self, text: str) -> list[str]:
        """Words, numbers and single punctuation marks, without the space between them."""
        return split_words(text, self.language)

    def sent_tokenize(self, text: str) -> list[str]:
        return [sentence.strip() for sentence in SentenceBreaker(text, self.language) if not sentence.isspace()]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each sentence."""
        spans, start = [], 0
        for sentence in SentenceBreaker(text, self.language):
            spans.append((start, start + len(sentence)))
            start += len(sentence)
        return spans
