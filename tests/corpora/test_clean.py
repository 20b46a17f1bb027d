"""Cleaning: counts, duplicates, and that a killed process goes on."""

from __future__ import annotations

import json

import pytest

from langmerge.corpora import clean as module
from langmerge.corpora.documents import Index
from langmerge.errors import UserError
from support.own_corpus import cleaned, read, selected, texts, write
from support.texts import PARAGRAPHS, SENTENCES

BASQUE = PARAGRAPHS["eu"]


def test_every_drop_is_counted_by_its_reason(tmp_path):
    file = write(tmp_path / "a.jsonl", [BASQUE, BASQUE, PARAGRAPHS["es"], "labur", BASQUE + " {", ""])
    filters = [{"language": "py3langid"}, {"gopher_quality": "dolma"}, {"c4": "dolma"}]
    counts = cleaned(tmp_path / "clean", [file], filters=filters)
    assert counts["read"] == 6
    assert counts["dropped"] == {
        "unreadable": {"no text": 1},
        "language: py3langid": {"in es": 1, **counts["dropped"]["language: py3langid"]},
        "gopher_quality: dolma": counts["dropped"]["gopher_quality: dolma"],
        "c4: dolma": {"curly bracket": 1},
        "duplicates": {"equal": 1},
    }
    assert sum(sum(reasons.values()) for reasons in counts["dropped"].values()) + counts["documents"] == 6
    assert counts["documents"] == 1
    assert counts["characters"] == len(BASQUE)
    assert counts["bytes"] == len(BASQUE.encode())
    assert counts["words"] == 76
    assert json.loads((tmp_path / "clean" / "counts.json").read_text()) == counts


def test_a_filter_that_changes_texts_changes_what_is_kept(tmp_path):
    file = write(tmp_path / "a.jsonl", ["\n".join([*SENTENCES, "No full stop"])])
    cleaned(tmp_path / "clean", [file], filters=[{"c4": "datatrove"}])
    assert read(tmp_path / "clean" / "documents") == ["\n".join(SENTENCES)]


def test_nothing_that_passes_is_refused_with_the_reasons(tmp_path):
    file = write(tmp_path / "a.jsonl", ["labur", "motz"])
    with pytest.raises(
        UserError, match=r"none of 2 documents passes the filters. Dropped by gopher_quality: dolma: {'fewer than 50"
    ):
        cleaned(tmp_path / "clean", [file], filters=[{"gopher_quality": "dolma"}])
    assert not (tmp_path / "clean").exists()


def near(text: str, changes: int) -> str:
    """A text with some of its words changed."""
    words = text.split()
    for number in range(changes):
        words[number * 37 % len(words)] = f"berri{number}"
    return " ".join(words)


def test_near_duplicates_are_dropped_and_others_are_not(tmp_path):
    long = " ".join(texts(5))
    documents = [long, near(long, 2), near(long, len(long.split()) // 3), *texts(20, seed=2)]
    file = write(tmp_path / "a.jsonl", [*documents, long])
    counts = cleaned(tmp_path / "clean", [file], duplicates="minhash")
    assert counts["dropped"]["duplicates"] == {"equal": 1, "near": 1}
    assert cleaned(tmp_path / "exact", [file], duplicates="exact")["dropped"]["duplicates"] == {"equal": 1}
    assert cleaned(tmp_path / "none", [file], duplicates="none")["dropped"]["duplicates"] == {}


def groups() -> list[list[str]]:
    """Three groups of four texts that are alike, and texts that are like none."""
    originals = [" ".join(texts(5, seed=seed)) for seed in (1, 2, 3)]
    return [[near(text, changes) for changes in range(4)] for text in originals] + [
        [text] for text in texts(30, seed=9)
    ]


def test_which_near_duplicate_is_kept_does_not_depend_on_files_or_processes(tmp_path):
    documents = [text for group in groups() for text in group]
    kept = []
    for number, (order, files, processes) in enumerate([(1, 1, 1), (-1, 3, 1), (1, 4, 2)]):
        ordered = documents[::order]
        paths = [write(tmp_path / f"{number}" / f"{part}.jsonl", ordered[part::files]) for part in range(files)]
        counts = cleaned(tmp_path / f"{number}" / "clean", paths, processes, duplicates="minhash")
        assert counts["dropped"]["duplicates"] == {"equal": 0, "near": 9}
        selected(tmp_path / f"{number}" / "clean", tmp_path / f"{number}" / "selected")
        kept.append(read(tmp_path / f"{number}" / "selected" / "train"))
    assert kept[0] == kept[1] == kept[2]
    assert all(sum(text in group for text in kept[0]) == 1 for group in groups())


def test_datatrove_alone_keeps_one_that_depends_on_the_order(tmp_path):
    """Why the choice is made here."""
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.readers import ParquetReader

    from langmerge.corpora.duplicates import CONFIG, as_document
    from langmerge.corpora.words import IcuWords

    kept = []
    for order in (1, -1):
        folder = tmp_path / f"{order}"
        file = write(folder / "a.jsonl", [text for group in groups()[:3] for text in group][::order])
        cleaned(folder / "clean", [file], duplicates="none")
        places = [str(folder / name) for name in ("signatures", "pairs", "clusters")]

        def reader(folder=folder):
            return ParquetReader(
                str(folder / "clean" / "documents"), id_key="hash", read_metadata=False, adapter=as_document
            )

        MinhashDedupSignature(places[0], CONFIG, IcuWords("eu")).run(reader().run())
        for bucket in range(CONFIG.num_buckets):
            MinhashDedupBuckets(places[0], places[1], config=CONFIG).run(rank=bucket, world_size=CONFIG.num_buckets)
        MinhashDedupCluster(places[1], places[2], CONFIG).run()
        kept.append({document.text for document in MinhashDedupFilter(places[2]).run(reader().run())})
    assert len(kept[0]) == len(kept[1]) == 3
    assert kept[0] != kept[1]


def test_a_killed_process_goes_on_with_the_files_that_it_had_not_finished(tmp_path, monkeypatch):
    files = [write(tmp_path / f"{number}.jsonl", texts(10, seed=number)) for number in range(3)]
    broken = tmp_path / "3.jsonl"
    broken.write_text("{")
    with pytest.raises(UserError, match=r"3.jsonl: no document has a text"):
        cleaned(tmp_path / "clean", [*files, broken])
    finished = {path.name: path.stat().st_mtime_ns for path in (tmp_path / ".clean.k.partial" / "documents").iterdir()}
    assert {"00000.parquet", "00001.parquet", "00002.parquet"} <= {*finished}
    write(broken, texts(10, seed=3))
    assert cleaned(tmp_path / "clean", [*files, broken])["documents"] == 40
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "clean" / "documents").iterdir()}
    kept = {name for name in finished if now[name] == finished[name]}
    assert kept == {"00000.parquet", "00001.parquet", "00002.parquet"}


def test_what_was_made_from_something_else_is_not_used(tmp_path):
    broken = tmp_path / "a.jsonl"
    broken.write_text("{")
    files = [write(tmp_path / "b.jsonl", texts(10)), broken]
    with pytest.raises(UserError):
        cleaned(tmp_path / "clean", files, key="old")
    cleaned(tmp_path / "clean", [write(tmp_path / "c.jsonl", texts(5, seed=2))], key="new")
    assert not list(tmp_path.glob(".clean.*"))
    assert len(Index.of(tmp_path / "clean" / module.DOCUMENTS)) == 5
