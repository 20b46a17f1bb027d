"""Items of benchmarks that were planted in a corpus are found, whatever their length."""

from __future__ import annotations

import json

import numpy as np
import pytest

from langmerge.corpora.contamination import search
from langmerge.errors import UserError
from support.own_corpus import cleaned, read, selected, settings, texts, write

LONG = "Zein urtetan inauguratu zuten herriko lehen liburutegi publikoa, eta nork eman zuen horretarako behar zen diru guztia?"
SHORT = "Nork idatzi zuen liburu hori?"
TWELVE = "Bat bi hiru lau bost sei zazpi zortzi bederatzi hamar hamaika hamabi"
TINY = "Bai, noski."
ABSENT = "Zenbat ordu irauten du trenak hemendik hiriburura arte egunero goizean?"


def item(number: int, *texts: str) -> dict:
    return {"task": "quiz", "document": number, "texts": list(texts)}


ITEMS = [item(0, LONG), item(1, SHORT, "A"), item(2, TWELVE), item(3, TINY), item(4, ABSENT)]


def planted() -> list[str]:
    """Documents with items in the middle of other words, in other case and punctuation."""
    documents = texts(30)
    documents[3] = f"{documents[3]} {' '.join(LONG.split()[2:16]).upper()} {documents[4]}"  # 14 of its words
    documents[5] = f"hasiera {SHORT.replace(' ', chr(10))} amaiera"
    documents[7] = f"{documents[7]} «{TWELVE}», {documents[8]}"
    documents[9] = f"{documents[9]} {TINY} {' '.join(ABSENT.split()[:-1])} {documents[10]}"
    return documents


@pytest.fixture
def corpus(tmp_path):
    cleaned(tmp_path / "clean", [write(tmp_path / "a.jsonl", planted())])
    selected(tmp_path / "clean", tmp_path / "selected")
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in ITEMS))
    return tmp_path


def searched(folder, **contamination) -> dict:
    own = settings(contamination={"ngram": 13, "action": "report", **contamination})
    return search(folder / "selected", folder / "items.jsonl", folder / "searched", own, 1)


def test_planted_items_are_found_and_others_are_not(corpus):
    report = searched(corpus)
    assert report["documents"] == {"searched": 30, "contaminated": 3, "dropped": 0}
    assert report["tasks"] == {"quiz": {"items": 5, "found": 3, "too_short": 1}}
    assert sorted(number for example in report["examples"] for _, number in example["items"]) == [0, 1, 2]
    assert json.loads((corpus / "searched" / "report.json").read_text()) == report


def test_drop_names_exactly_those_documents(corpus):
    report = searched(corpus, action="drop")
    assert report["documents"]["dropped"] == 3
    dropped = {*np.load(corpus / "searched" / "dropped.npy").tolist()}
    from langmerge.corpora.documents import text_hash

    held = {text_hash(text) for text in read(corpus / "selected" / "train")}
    assert dropped == {text_hash(text) for number, text in enumerate(planted()) if number in (3, 5, 7)}
    assert dropped < held


def test_twelve_words_of_a_longer_item_are_not_enough_unless_the_config_says_so(corpus):
    cleaned(corpus / "clean", [write(corpus / "b.jsonl", [f"a {' '.join(LONG.split()[:12])} b"])], key="b")
    selected(corpus / "clean", corpus / "selected")
    assert searched(corpus)["documents"]["contaminated"] == 0
    assert searched(corpus, ngram=12)["documents"]["contaminated"] == 1


def test_a_run_without_items_is_refused(corpus):
    (corpus / "items.jsonl").write_text("")
    with pytest.raises(UserError, match=r"no items of benchmarks"):
        searched(corpus)


def test_datatroves_decontamination_finds_no_short_item():
    """Why the search is written here: its n-grams have one length."""
    from datatrove.utils.text import ngrams, simplify_text

    assert list(ngrams(simplify_text(SHORT).split(), 12)) == []
    assert len(list(ngrams(simplify_text(LONG).split(), 12))) > 0
    with pytest.raises(ImportError, match="lighteval"):
        from datatrove.pipeline.decont import NGramsDecontIndexer

        NGramsDecontIndexer("folder")
