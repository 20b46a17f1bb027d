"""Languages: their files, what they say, and that they do not depend on one another."""

from __future__ import annotations

import pytest
import yaml

from langmerge.commands import world as command
from langmerge.errors import UserError
from langmerge.grid.folders import Folders
from langmerge.mini.cldr import Language, isolated_locale
from langmerge.mini.phrases import Meaning, Term
from support.commands import call
from support.mini import files, generate, training_text, write_language
from support.paths import ROOT


def test_the_same_seed_gives_the_same_bytes_whatever_other_languages_there_are(world, tmp_path):
    for code in ("eu", "en", "es"):
        write_language(tmp_path / "own", code, yaml.safe_load((ROOT / f"config/languages/{code}.yaml").read_text()))
    folders = Folders(own=tmp_path / "own", shipped=tmp_path / "nothing")
    generate(tmp_path / "eu", "eu", folders=folders)
    assert files(tmp_path / "eu") == files(world / "eu")
    generate(tmp_path / "other", "eu", folders=folders, seed=2)
    assert files(tmp_path / "other").keys() == files(world / "eu").keys()
    assert files(tmp_path / "other")["corpus.jsonl"] != files(world / "eu")["corpus.jsonl"]


def test_a_new_language_needs_no_more_than_a_file_in_the_users_folder(tmp_path, monkeypatch):
    write_language(tmp_path / "config", "af", {"name": "Afrikaans", "locale": "af", "mt_sources": ["en", "es"]})
    monkeypatch.chdir(tmp_path)
    call(
        command, "data's/á f", "--language", "af", "--lines", 500, "--documents", 4, "--translations", 4, "--prompts", 4
    )
    assert "Maandag" in training_text(tmp_path / "data's/á f")
    assert "\nSpanish:" in training_text(tmp_path / "data's/á f")  # a shipped language


def test_the_users_file_wins_over_the_shipped_one(tmp_path):
    write_language(tmp_path, "eu", {"name": "Euskara", "locale": "eu", "mt_sources": ["en"]})
    assert Language.load(Folders(own=tmp_path), "eu").name == "Euskara"
    assert Language.load(Folders(own=tmp_path), "gl").name == "Galician"


def test_a_locale_is_not_changed_by_the_use_of_another():
    swahili, occitan = (Language(code, code, code, ("en",)) for code in ("sw", "oc"))
    monday = Meaning("word", "", (Term("weekday", 0),))
    assert swahili.say(monday) == "Jumatatu"
    assert occitan.say(monday) == "diluns"
    assert isolated_locale("oc") is isolated_locale("oc")


@pytest.mark.parametrize(
    ("meaning", "said"),
    [
        (
            Meaning("date", "full", (Term("day", 14), Term("month", 3), Term("year", 2019))),
            "2019(e)ko martxoaren 14(a), osteguna",
        ),
        (Meaning("relative", "past", (Term("number", 3), Term("field", "day"))), "duela 3 egun"),
        (Meaning("quantity", "", (Term("number", 12), Term("unit", "length-kilometer"))), "12 kilometro"),
        (Meaning("regional", "", (Term("language", "es"), Term("territory", "MX"))), "gaztelania (Mexiko)"),
        (
            Meaning(
                "list",
                "or",
                (Meaning("word", "", (Term("territory", "RS"),)), Meaning("percent", "", (Term("number", 15),))),
            ),
            "Serbia edo % 15",
        ),
    ],
)
def test_says_meanings_in_basque(meaning, said):
    assert Language("eu", "Basque", "eu", ("en",)).say(meaning) == said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("name: [", "is not YAML"),
        ("name: Klingon", "lacks locale, mt_sources"),
        ("name: Klingon\nlocale: tlh\nmt_sources: [en]", "'tlh' is not a CLDR locale"),
    ],
)
def test_a_bad_language_file_gives_a_clear_error(tmp_path, content, message):
    if content is not None:
        (tmp_path / "languages").mkdir()
        (tmp_path / "languages" / "xx.yaml").write_text(content)
    with pytest.raises(UserError, match=message) as error:
        Language.load(Folders(own=tmp_path), "xx")
    assert "xx.yaml" in str(error.value)
    assert str(tmp_path / "languages") in str(error.value)
