"""IFEval's 25 instructions, each with a function that says whether an answer follows it.

The function's parameters are the answer and the data set's own kwargs.

What the original does for English only is done here by Unicode: text is compared in normal form C,
case by code points, words and sentences are those of ICU (UAX #29), the commas of other scripts
count. Nothing is drawn at random.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from langmerge.evaluation.ifeval_text import TABLES, Answer, language_of, words

COMMAS = frozenset(",،、，﹐､፣߸")

RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "at least": lambda count, wanted: count >= wanted,
    "less than": lambda count, wanted: count < wanted,
}

RESPONSE_LANGUAGE = "language:response_language"


def compare(count: int, relation: str, wanted: int) -> bool:
    if relation not in RELATIONS:
        raise ValueError(f"unknown relation {relation!r}; expected one of: {', '.join(RELATIONS)}")
    return RELATIONS[relation](count, wanted)


def in_accepted_language(answer: Answer) -> bool:
    return not answer.table.case_languages or language_of(answer.text) in answer.table.case_languages


def all_capital(answer: Answer) -> bool:
    return answer.text == answer.text.upper() and answer.text != answer.text.lower() and in_accepted_language(answer)


def all_lowercase(answer: Answer) -> bool:
    return answer.text == answer.text.lower() and answer.text != answer.text.upper() and in_accepted_language(answer)


def has_capital_words(answer: Answer, capital_frequency: int, capital_relation: str) -> bool:
    """A word with hyphens counts once, as in the original: an underscore joins words in UAX #29."""
    joined = re.sub(r"(?<=\w)[-‐‑](?=\w)", "_", answer.text)
    count = sum(word.isupper() for word in words(joined, answer.table.code))
    return compare(count, capital_relation, capital_frequency)


def repeats_prompt(answer: Answer, prompt_to_repeat: str) -> bool:
    return answer.folded.strip().startswith(prompt_to_repeat.strip().casefold())


def has_two_responses(answer: Answer) -> bool:
    """Two different parts around ******; one more ****** may come before them and one after."""
    parts = [part.strip() for part in answer.text.split("******")]
    inner = parts[not parts[0] : len(parts) - (not parts[-1])]
    return len(inner) == 2 and all(inner) and inner[0] != inner[1]


def has_placeholders(answer: Answer, num_placeholders: int) -> bool:
    return len(re.findall(r"\[[^\n]*?\]", answer.text)) >= num_placeholders


def has_postscript(answer: Answer, postscript_marker: str | None = None) -> bool:
    """The marker occurs, in any case; a blank may follow each of its full stops ("P. S.")."""
    markers = [postscript_marker] if postscript_marker else answer.table.postscript_markers
    patterns = (re.sub(r"\\\.(?=.)", r"\\.\\s?", re.escape(marker.strip().casefold())) for marker in markers)
    return any(re.search(pattern, answer.folded) for pattern in patterns)


def has_constrained_response(answer: Answer) -> bool:
    if not answer.table.constrained_responses:
        raise ValueError(f"no constrained_responses for the language {answer.table.code!r} in {TABLES.name}")
    return any(re.search(re.escape(option) + r"(?!\w)", answer.text) for option in answer.table.constrained_responses)


def is_json(answer: Answer) -> bool:
    """The whole answer is JSON, except for a code fence around it."""
    text = re.sub(r"^```(?:json)?", "", answer.text.strip(), flags=re.IGNORECASE).removesuffix("```")
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def has_sections(answer: Answer, num_sections: int, section_spliter: str | None = None) -> bool:
    """At least so many labels with a number."""
    labels = [section_spliter] if section_spliter else answer.table.section_words
    label = "|".join(re.escape(label.strip()) for label in labels)
    pattern = rf"\d+\.?\s?(?:{label})" if answer.table.section_number_first else rf"(?:{label})\s?\d+"
    return len(re.findall(pattern, answer.text)) >= num_sections


def has_bullets(answer: Answer, num_bullets: int) -> bool:
    """Exactly so many lines that start with `*` (not `**`) or `-`."""
    return len(re.findall(r"^[^\S\n]*(?:\*[^*\n]|-)", answer.text, re.MULTILINE)) == num_bullets


def has_highlights(answer: Answer, num_highlights: int) -> bool:
    """*text* or **text**.

    As in the original, **text** counts once more where * opens and closes between two of them.
    """
    highlights = [*re.findall(r"\*([^\n*]*)\*", answer.text), *re.findall(r"\*\*([^\n*]*)\*\*", answer.text)]
    return sum(bool(text.strip()) for text in highlights) >= num_highlights


def has_title(answer: Answer) -> bool:
    return any(title.strip("<> \t") for title in re.findall(r"<<[^\n]+>>", answer.text))


def has_keywords(answer: Answer, keywords: list[str]) -> bool:
    return all(keyword.strip().casefold() in answer.folded for keyword in keywords)


def lacks_words(answer: Answer, forbidden_words: list[str]) -> bool:
    return not any(
        re.search(rf"(?<!\w){re.escape(word.strip().casefold())}(?!\w)", answer.folded) for word in forbidden_words
    )


def has_frequency(answer: Answer, keyword: str, frequency: int, relation: str) -> bool:
    return compare(answer.folded.count(keyword.strip().casefold()), relation, frequency)


def has_letter_frequency(answer: Answer, letter: str, let_frequency: int, let_relation: str) -> bool:
    """Any character counts as itself: the data sets also ask for `#`, `!` and `ñ`.

    Text is lowercased and not case-folded, which would make two `s` of `ß`.
    """
    return compare(answer.text.lower().count(letter.strip().lower()), let_relation, let_frequency)


def is_in_language(answer: Answer, language: str) -> bool:
    return language_of(answer.text) == language


def has_nth_first_word(answer: Answer, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Exactly so many paragraphs, with empty lines between them.

    The nth of them starts with this word (or words).
    """
    paragraphs = [paragraph.strip() for paragraph in answer.folded.split("\n\n") if paragraph.strip()]
    if len(paragraphs) != num_paragraphs or nth_paragraph > num_paragraphs:
        return False
    word = r"\s+".join(map(re.escape, first_word.casefold().split()))
    return re.match(rf"""["'“‘«¿¡]*{word}(?=$|[\s.,;:?!"'…”’»])""", paragraphs[nth_paragraph - 1]) is not None


def has_paragraphs(answer: Answer, num_paragraphs: int) -> bool:
    """Exactly so many paragraphs with *** between them.

    One more *** may come before them and one after.
    """
    paragraphs = [paragraph.strip() for paragraph in re.split(r"\s?\*\*\*\s?", answer.text)]
    inner = paragraphs[not paragraphs[0] : len(paragraphs) - (not paragraphs[-1])]
    return len(inner) == num_paragraphs and all(inner)


def has_number_of_sentences(answer: Answer, num_sentences: int, relation: str) -> bool:
    return compare(len(answer.sentences()), relation, num_sentences)


def has_number_of_words(answer: Answer, num_words: int, relation: str) -> bool:
    return compare(len(answer.words()), relation, num_words)


def has_no_comma(answer: Answer) -> bool:
    return COMMAS.isdisjoint(answer.text)


def ends_with(answer: Answer, end_phrase: str) -> bool:
    return answer.unquoted().casefold().endswith(end_phrase.strip().casefold())


def is_quoted(answer: Answer) -> bool:
    text = answer.text.strip()
    return len(text) > 1 and text[0] + text[-1] in answer.table.quotation_marks


CHECKERS: dict[str, Callable[..., bool]] = {
    "change_case:capital_word_frequency": has_capital_words,
    "change_case:english_capital": all_capital,
    "change_case:english_lowercase": all_lowercase,
    "combination:repeat_prompt": repeats_prompt,
    "combination:two_responses": has_two_responses,
    "detectable_content:number_placeholders": has_placeholders,
    "detectable_content:postscript": has_postscript,
    "detectable_format:constrained_response": has_constrained_response,
    "detectable_format:json_format": is_json,
    "detectable_format:multiple_sections": has_sections,
    "detectable_format:number_bullet_lists": has_bullets,
    "detectable_format:number_highlighted_sections": has_highlights,
    "detectable_format:title": has_title,
    "keywords:existence": has_keywords,
    "keywords:forbidden_words": lacks_words,
    "keywords:frequency": has_frequency,
    "keywords:letter_frequency": has_letter_frequency,
    RESPONSE_LANGUAGE: is_in_language,
    "length_constraints:nth_paragraph_first_word": has_nth_first_word,
    "length_constraints:number_paragraphs": has_paragraphs,
    "length_constraints:number_sentences": has_number_of_sentences,
    "length_constraints:number_words": has_number_of_words,
    "punctuation:no_comma": has_no_comma,
    "startend:end_checker": ends_with,
    "startend:quotation": is_quoted,
}
