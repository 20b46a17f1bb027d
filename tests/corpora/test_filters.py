"""Filters: what they decide, compared with what dolma and datatrove were recorded to decide."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from datatrove.data import Document

from langmerge.corpora import dolma
from langmerge.corpora.filters import PROFILES, filters, sample
from langmerge.corpora.words import IcuWords
from langmerge.errors import UserError
from langmerge.grid.folders import Folders
from langmerge.grid.schema import validator
from support.paths import ROOT
from support.texts import ENGLISH, PARAGRAPHS, documents

RECORDED = json.loads(Path(__file__).with_name("recorded.json").read_text(encoding="utf-8"))
STOP_WORDS = ["the", "be", "to", "of", "and", "that", "have", "with"]
DOCUMENTS = documents()


def decided(
    settings: list[dict], text: str, language: str = "en", stop_words: list[str] = STOP_WORDS, **metadata: str
) -> str:
    """ "kept", or the reason for which the first filter that drops a text does."""
    for step in filters(settings, language, stop_words, "own.yaml"):
        result = step.filter(Document(text, "", metadata=metadata))
        if result is not True:
            return result[1]
    return "kept"


def test_there_are_about_forty_documents_and_every_one_was_recorded():
    assert len(DOCUMENTS) >= 40
    assert RECORDED["dolma"].keys() == RECORDED["datatrove"].keys() == DOCUMENTS.keys()


NAMES = {
    "word_count": "words",
    "median_word_length": "median_length",
    "symbol_to_word_ratio": "symbols",
    "fraction_of_words_with_alpha_character": "alphabetic",
    "required_word_count": "stop_words",
    "fraction_of_lines_starting_with_bullet_point": "bullets",
    "fraction_of_lines_ending_with_ellipsis": "ellipses",
    "fraction_of_duplicate_lines": "lines",
    "fraction_of_characters_in_duplicate_lines": "line_characters",
    **{f"fraction_of_characters_in_most_common_{n}grams": f"most_common_{n}" for n in (2, 3, 4)},
    **{f"fraction_of_characters_in_duplicate_{n}grams": f"repeated_{n}" for n in range(5, 11)},
}
"""dolma's names of what it computes, and ours."""


@pytest.mark.parametrize("name", DOCUMENTS)
def test_dolmas_numbers_are_dolmas(name):
    text, recorded = DOCUMENTS[name], RECORDED["dolma"][name]
    found = dolma.quality(text, STOP_WORDS) | dolma.repetition(text)
    known = {ours: recorded[theirs] for theirs, ours in NAMES.items() if theirs in recorded}
    assert found == pytest.approx(known, rel=1e-12)
    assert decided([{"c4": "dolma"}], text) == next(
        (reason for mark, reason in MARKS.items() if recorded[mark]), "kept"
    )


MARKS = {"has_curly_brace": "curly bracket", "has_lorem_ipsum": "lorem ipsum", "has_javascript": "javascript"}


@pytest.mark.parametrize(
    ("name", "rule", "reason"),
    [
        ("49 words", "gopher_quality", "fewer than 50 words"),
        ("50 words", "gopher_quality", "kept"),
        ("short words", "gopher_quality", "median word shorter than 3"),
        ("long words", "gopher_quality", "median word longer than 10"),
        ("hashes", "gopher_quality", "symbols in more than 0.1 of the words"),
        ("few hashes", "gopher_quality", "kept"),
        ("numbers", "gopher_quality", "letters in less than 0.8 of the words"),
        ("some numbers", "gopher_quality", "kept"),
        ("no stop words", "gopher_quality", "fewer than 2 stop words"),
        ("one stop word twice", "gopher_quality", "kept"),
        ("bullets -", "gopher_quality", "more than 0.9 of the lines are bullets"),
        ("bullets •", "gopher_quality", "kept"),
        ("lines end in an ellipsis", "gopher_quality", "more than 0.3 of the lines end in an ellipsis"),
        ("lines end in dots", "gopher_quality", "kept"),
        ("lines twice", "gopher_repetition", "repeated lines"),
        ("a paragraph twice", "gopher_repetition", "repeated lines"),
        ("a phrase repeated", "gopher_repetition", "most common 2-gram"),
        ("paragraph en", "gopher_repetition", "kept"),
    ],
)
def test_dolmas_thresholds(name, rule, reason):
    """Worked out from the recorded numbers and the thresholds of Dolma CCCC."""
    assert decided([{rule: "dolma"}], DOCUMENTS[name]) == reason


OTHER_WORDS = {
    ("gopher_quality", "49 words"): "gopher_short_doc",
    ("gopher_quality", "49 words and punctuation"): "gopher_short_doc",
    ("gopher_quality", "dots in words"): "gopher_below_alpha_threshold",
}
"""Where ICU's words lead to another decision than spaCy's: spaCy splits "night's" in two and has
"..." as one word, ICU has three.
"""


@pytest.mark.parametrize("rule", ["gopher_quality", "gopher_repetition", "c4"])
def test_datatroves_decisions_are_datatroves(rule):
    """Its own filters, with ICU's words in place of spaCy's."""
    found = {name: decided([{rule: "datatrove"}], text) for name, text in DOCUMENTS.items()}
    recorded = {
        name: OTHER_WORDS.get((rule, name), decisions[rule]) for name, decisions in RECORDED["datatrove"].items()
    }
    assert found == recorded


def test_every_rule_of_the_two_libraries_was_seen_to_drop_something():
    dropped = {reason for decisions in RECORDED["datatrove"].values() for reason in decisions.values()}
    assert len(dropped) >= 14


# ---- real text in real languages


def stop_words(language: str) -> list[str]:
    return yaml.safe_load((ROOT / "config" / "languages" / f"{language}.yaml").read_text(encoding="utf-8"))[
        "stop_words"
    ]


STRICTEST = [
    {"gopher_quality": "dolma"},
    {"gopher_repetition": "dolma"},
    {"c4": "dolma"},
    {"gopher_quality": "datatrove"},
    {"gopher_repetition": "datatrove"},
    {"c4": "datatrove"},
]


@pytest.mark.parametrize("language", PARAGRAPHS)
def test_a_real_paragraph_passes_every_profile_with_the_languages_stop_words(language):
    assert decided(STRICTEST, PARAGRAPHS[language], language, stop_words(language)) == "kept"


@pytest.mark.parametrize("language", sorted(PARAGRAPHS.keys() - {"en"}))
def test_with_english_stop_words_it_would_be_dropped(language):
    for profile in ("dolma", "datatrove"):
        assert "stop_words" in decided([{"gopher_quality": profile}], PARAGRAPHS[language], language).replace(" ", "_")


@pytest.mark.parametrize("language", sorted(PARAGRAPHS.keys() - {"ast"}))
def test_the_language_is_known(language):
    for other, text in PARAGRAPHS.items():
        if other != "ast":
            expected = "kept" if other == language else f"in {other}"
            assert decided([{"language": "py3langid"}], text, language) == expected
    assert decided([{"language": "py3langid"}], "123 456", language) == "no letters"


def test_a_long_text_is_known_by_its_beginning_middle_and_end():
    text = "a" * 5000 + "m" * 500 + "z" * 5000
    assert sample(text) == "\n".join(["a" * 500, "m" * 500, "z" * 500])
    assert sample("x" * 1500) == "x" * 1500


# ---- addresses


@pytest.mark.parametrize(
    ("metadata", "decision"),
    [
        ({"url": "https://www.example.eus/a"}, "kept"),
        ({"url": "http://example.CAT:8080"}, "kept"),
        ({"url": "https://example.com/page.eus"}, "another domain"),
        ({"url": "https://eus.example.com"}, "another domain"),
        ({"url": "example.eus"}, "another domain"),
        ({"url": "http://[broken"}, "address that cannot be read"),
        ({}, "no address"),
    ],
)
def test_top_level_domains(metadata, decision):
    assert decided([{"top_level_domain": ["eus", "cat"]}], ENGLISH, **metadata) == decision


# ---- refusals


def test_a_profile_that_needs_stop_words_says_so():
    with pytest.raises(UserError, match=r"own.yaml: filters: gopher_quality: dolma needs `stop_words`"):
        filters([{"gopher_quality": "dolma"}], "eu", [], "own.yaml")


def test_a_language_that_py3langid_does_not_know_is_refused():
    with pytest.raises(UserError, match="py3langid does not know 'ast'"):
        filters([{"language": "py3langid"}], "ast", [], "own.yaml")


def test_the_schema_knows_the_profiles():
    properties = validator("corpus").schema["properties"]["filters"]["items"]["properties"]
    assert {rule: schema["enum"] for rule, schema in properties.items() if "enum" in schema} == {
        rule: list(profiles) for rule, profiles in PROFILES.items()
    }


def test_every_shipped_corpus_whose_filters_need_stop_words_has_them():
    from langmerge.grid.corpora import read_corpus

    names = Folders(ROOT / "config").names("corpora")
    assert len(names) >= 8
    for name in names:
        corpus = read_corpus(name, Folders(ROOT / "config"))
        filters(corpus.settings["filters"], corpus.language, corpus.stop_words, name)


# ---- words


def test_datatroves_own_words_need_more_packages():
    from datatrove.utils.word_tokenizers import load_word_tokenizer

    for language in ("eu", "gl", "cy"):
        with pytest.raises(ImportError, match=r"stanza|spacy"):
            load_word_tokenizer(language).word_tokenize("bat bi hiru")


def test_words_and_sentences():
    words = IcuWords("ca")
    assert words.word_tokenize("L'home ven  col·lecció, 3.14!") == ["L'home", "ven", "col·lecció", ",", "3.14", "!"]
    text = "Un. Dos!  Tres?"
    assert words.sent_tokenize(text) == ["Un.", "Dos!", "Tres?"]
    assert [text[start:stop] for start, stop in words.span_tokenize(text)] == ["Un. ", "Dos!  ", "Tres?"]
    assert words == IcuWords("ca") != IcuWords("es")
    assert hash(words) == hash(IcuWords("ca"))
