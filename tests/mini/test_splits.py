"""Held-out phrases occur in no training text, every word does, and no choice gives itself away."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from langmerge.mini import phrases
from langmerge.mini.benchmarks import acceptable, reorderings
from langmerge.mini.cldr import Language
from langmerge.mini.corpus import ENGLISH
from langmerge.mini.phrases import VALUES, Meaning, Term
from support.mini import CODES, held_out, read, training_text


def test_no_held_out_phrase_occurs_in_a_training_text_of_any_language(world):
    held = {text: path for path in sorted(world.glob("*/tasks/*.jsonl")) for text in held_out(path)}
    assert len(held) > 3000
    for language in CODES:
        text = training_text(world / language)
        assert [(phrase, path.name) for phrase, path in held.items() if phrase in text] == []


def test_dev_and_test_share_no_phrase_in_any_language(world):
    dev, test = (
        {text for path in world.glob(f"*/tasks/*.{split}.jsonl") for text in held_out(path)}
        for split in ("dev", "test")
    )
    assert dev
    assert test
    assert not dev & test


def test_no_dev_phrase_is_part_of_a_test_phrase_or_the_reverse(world):
    for code in CODES:
        dev, test = (
            "\n".join(text for path in world.glob(f"{code}/tasks/*.{split}.jsonl") for text in held_out(path))
            for split in ("dev", "test")
        )
        assert not [line for line in dev.split("\n") if line in test]
        assert not [line for line in test.split("\n") if line in dev]


def test_every_word_is_in_the_training_text_also_beside_its_translation(world, languages):
    for language in languages.values():
        text = training_text(world / language.code)
        documents = [row["text"] for row in read(world / language.code / "corpus.jsonl")]
        names = [Term(kind, value) for kind in ("territory", "language", "weekday", "month") for value in VALUES[kind]]
        known = [term for term in names if language.term(term)]
        assert len(known) > 50
        assert [term for term in known if language.term(term) not in text] == []
        assert [
            term for kind in ("unit", "currency", "field") for term in terms(kind) if not shown(language, term, text)
        ] == []
        if language.code == ENGLISH:
            continue
        pairs = {pair for document in documents for pair in document.split("\n\n")}
        for source in (languages[code] for code in language.mt_sources):
            for one, other in ((source, language), (language, source)):
                missing = [
                    term
                    for term in known
                    if one.term(term) and f"{one.name}: {one.term(term)}\n{other.name}: {other.term(term)}" not in pairs
                ]
                assert missing == []


def terms(kind: str) -> list[Term]:
    return [Term(kind, value) for value in VALUES[kind]]


def shown(language: Language, term: Term, text: str) -> bool:
    """Whether a unit, currency or stretch of time is in the text with some number (or CLDR has no
    word for it).
    """
    template = {"unit": "quantity", "currency": "amount", "field": "span"}[term.kind]
    said = [language.say(Meaning(template, "", (number, term))) for number in terms("number")]
    return None in said or any(phrase in text for phrase in said)


def test_english_corpus_is_english_only(world, languages):
    text = training_text(world / "en")
    assert not any(f"{language.name}:" in text for code, language in languages.items() if code != "en")
    assert "asteazkena" not in text
    assert "miércoles" not in text


def test_splits_have_their_shares_and_words_are_for_training():
    rng = Random(0)
    drawn_splits = [phrases.split(phrases.phrase(rng)) for _ in range(4000)]
    assert 0.7 < drawn_splits.count("train") / 4000 < 0.9
    assert drawn_splits.count("test") > 2 * drawn_splits.count("dev") > 0
    assert {phrases.split(phrases.word(kind, rng)) for kind in ("territory", "language") for _ in range(200)} == {
        "train"
    }


def test_a_longer_meaning_has_the_pairs_of_its_parts():
    rng = Random(0)
    for _ in range(500):
        whole = phrases.words(rng)
        for part in combinations(whole.slots, 2):
            assert phrases.pairs(whole._replace(slots=part)) <= phrases.pairs(whole)
        dated = phrases.date(rng)._replace(style="long")
        assert phrases.pairs(dated._replace(style="day_month", slots=dated.slots[:2])) <= phrases.pairs(dated)
        assert (
            phrases.pairs(Meaning("month_year", "", dated.slots[1:])) <= phrases.pairs(dated) or len(dated.slots) == 2
        )


@pytest.mark.parametrize("task", ["vocabulary", "calendar", "grammar"])
def test_position_and_length_give_no_answer_away(world, task):
    rows = [row for code in CODES for row in read(world / code / "tasks" / f"mini_{task}_{code}.test.jsonl")]
    assert all(len(set(row["choices"])) == 4 for row in rows)
    for score in (len, lambda choice: -len(choice), lambda choice: -ord(choice[0])):
        assert 0.18 < accuracy(rows, score) < 0.32
    for position in range(4):
        assert 0.2 < sum(row["answer"] == position for row in rows) / len(rows) < 0.3


def accuracy(rows: list[dict], score) -> float:
    """Accuracy of choosing the highest score, ties shared."""
    total = 0.0
    for row in rows:
        scores = [score(choice) for choice in row["choices"]]
        best = [index for index, value in enumerate(scores) if value == max(scores)]
        total += (row["answer"] in best) / len(best)
    return total / len(rows)


def test_reorderings_that_are_well_formed_are_left_out(languages):
    english = languages["en"]
    days = Meaning("list", "and", tuple(Meaning("word", "", (Term("weekday", day),)) for day in (0, 1, 2)))
    assert "Tuesday, Monday, and Wednesday" in reorderings(english.say(days)) & acceptable(english, days)
    ago = Meaning("relative", "past", (Term("number", 20), Term("field", "day")))
    weeks = Meaning("span", "", (Term("number", 30), Term("field", "week")))
    assert "20 days and 30 weeks ago" in acceptable(english, Meaning("list", "and", (ago, weeks)))
