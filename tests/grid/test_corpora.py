"""Corpora of a run: their files, what names them, what they need of a hub, their jobs."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml
from huggingface_hub.utils import filter_repo_objects

from langmerge.errors import UserError
from langmerge.files import sha256
from langmerge.grid.corpora import read_corpus
from langmerge.grid.folders import Folders
from langmerge.grid.grid import Grid
from langmerge.hub.repository import Repository
from support.paths import ROOT

RUN = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
SHIPPED = Folders(ROOT / "config").names("corpora")


def own(folder: Path, name: str, **content) -> Folders:
    """Folders of a user with a corpus."""
    path = folder / "config" / "corpora" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"language": "eu", "source": {"paths": ["*.jsonl"]}, **content}))
    return Folders(folder / "config")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"text": "bat"}\n')
    return tmp_path


def test_the_papers_corpora_welsh_and_swahili_are_shipped():
    assert {*SHIPPED} >= {
        "latxa-eu",
        "corpusnos-gl",
        "culturax-es",
        "culturax-ca",
        "fineweb-en",
        "zelaihandi-eu",
        "fineweb2-cy",
        "fineweb2-sw",
    }
    for name in SHIPPED:
        corpus = read_corpus(name, Folders(ROOT / "config"))
        assert corpus.repository
        assert corpus.language == name.split("-")[1]
    spanish = read_corpus("culturax-es", Folders(ROOT / "config"))
    assert spanish.settings["filters"][0] == {"top_level_domain": ["es", "eus", "cat", "gal"]}


def test_defaults(folder):
    corpus = read_corpus("own", own(folder, "own", contamination={"action": "drop"}))
    assert corpus.settings["duplicates"] == "exact"
    assert corpus.settings["contamination"] == {"ngram": 13, "action": "drop"}
    assert corpus.source == {"paths": ["*.jsonl"], "text": "text", "split": "file"}
    assert "eta" in corpus.stop_words


def test_local_files_are_found_once_and_sorted(folder):
    (folder / "b[1].jsonl").write_text("{}")
    corpus = read_corpus("own", own(folder, "own", source={"paths": ["b[1].jsonl", "*.jsonl", "a.jsonl"]}))
    assert corpus.files(Path("cache")) == [Path("a.jsonl"), Path("b[1].jsonl")]


def test_files_of_a_data_set_are_those_of_the_patterns(folder):
    folders = own(folder, "own", source={"hub": "a/b", "revision": "c0ffee", "files": ["eu/*_0[0-1].parquet"]})
    corpus = read_corpus("own", folders)
    with pytest.raises(UserError, match=r"a--b@c0ffee is not there. `langmerge prefetch` fetches it"):
        corpus.files(Path("cache"))
    for name in ("eu/x_00.parquet", "eu/x_01.parquet", "eu/x_02.parquet", "es/x_00.parquet"):
        path = folder / "cache" / "datasets" / "a--b@c0ffee" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert [path.name for path in corpus.files(Path("cache"))] == ["x_00.parquet", "x_01.parquet"]
    nothing = read_corpus("own", own(folder, "own", source={"hub": "a/b", "revision": "c0ffee", "files": ["gl/*"]}))
    with pytest.raises(UserError, match=r"source.files: none of gl/\* is in"):
        nothing.files(Path("cache"))


def test_the_clean_text_is_known_by_content_and_settings(folder):
    keys = set()
    for change in ({}, {"filters": [{"c4": "dolma"}]}, {"duplicates": "minhash"}, {"language": "es"}):
        keys.add(read_corpus("own", own(folder, "own", **change)).clean_key)
    (folder / "a.jsonl").rename(folder / "z.jsonl")
    same = read_corpus("own", own(folder, "own", held_out=5, budget={"words": 9}, contamination={"action": "drop"}))
    assert same.clean_key in keys
    (folder / "z.jsonl").write_text('{"text": "bi"}\n')
    assert read_corpus("own", own(folder, "own")).clean_key not in keys
    assert len(keys) == 4
    assert sha256(folder / "z.jsonl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"filters": [{"gopher_quality": "fineweb"}]},
            "own.yaml:2: filters.0.gopher_quality: found 'fineweb', expected one of dolma, datatrove",
        ),
        ({"filters": [{"c4": "dolma", "language": "py3langid"}]}, "filters.0"),
        ({"source": {"paths": ["a"], "revision": "x"}}, "source"),
        ({"source": {"hub": "a/b"}}, "source"),
        ({"budget": {"tokens": 5}}, "budget"),
        ({"held_out": 0.1}, "held_out: found 0.1, expected a whole number"),
        ({"language": "xx"}, "languages/xx.yaml"),
        ({"duplicate": "exact"}, "duplicate"),
    ],
)
def test_mistakes_are_refused_with_file_and_key(folder, content, message):
    with pytest.raises(UserError, match=r"own\.yaml") as refused:
        read_corpus("own", own(folder, "own", **content))
    assert message in str(refused.value)


def test_an_unknown_corpus_is_refused_with_the_known_ones(folder):
    with pytest.raises(UserError, match=r"unknown corpus 'latxa'.*Known: corpusnos-gl, .*latxa-eu"):
        read_corpus("latxa", Folders(folder / "config", ROOT / "config"))


# ---- in a run


def grid(folder: Path, corpora: list[str], **more) -> Grid:
    run = {**copy.deepcopy(RUN), "languages": ["eu"], "corpora": corpora, **more}
    return Grid(run, Folders(folder / "config", ROOT / "config"))


def test_data_sets_are_fetched_by_pattern(folder):
    found = {entry["hub"]: entry for entry in grid(folder, ["culturax-ca", "culturax-es", "fineweb-en"]).repositories}
    assert found["uonlp/CulturaX"]["files"] == ["ca/ca_part_*.parquet", "es/es_part_000[0-3]?.parquet"]
    assert found["HuggingFaceFW/fineweb"]["gb"] == 2.15
    repository = Repository.of(found["uonlp/CulturaX"])
    names = ["es/es_part_00039.parquet", "es/es_part_00040.parquet", "eu/eu_part_00000.parquet"]
    assert [*filter_repo_objects(names, **repository.patterns)] == names[:1]


def test_unpinned_data_sets_are_named(folder):
    assert grid(folder, ["culturax-ca", "fineweb-en"]).hub.unpinned == ["uonlp/CulturaX"]


def test_the_jobs_of_a_corpus(folder):
    own(folder, "own", budget={"tokens": 5, "tokenizer": "mini"})
    made = grid(folder, ["own"])
    jobs = {
        job.rule: job
        for job in made.jobs
        if job.rule in ("clean", "select", "items", "contamination", "tokenise", "table1")
    }
    root = Path("results/mini")
    assert [*jobs] == ["clean", "select", "contamination", "tokenise", "items", "table1"]
    assert jobs["clean"].inputs == ()
    assert jobs["select"].inputs == (root / "corpora/own/clean", root / "models/mini/tokenizer")
    assert jobs["contamination"].inputs == (root / "corpora/own/selected", root / "benchmark_items.jsonl")
    assert jobs["tokenise"].outputs == (root / "corpora/own/tokens/mini",)
    assert jobs["table1"].outputs[0] == root / "tables/table1.csv"
    assert root / "corpora/own/tokens/mini" in jobs["table1"].inputs


def test_a_run_without_corpora_has_none_of_these_jobs(folder):
    rules = {job.rule for job in grid(folder, []).jobs}
    assert not rules & {"clean", "select", "items", "contamination", "tokenise", "table1"}


def test_a_budget_in_the_tokens_of_a_backbone_of_another_run_is_refused(folder):
    own(folder, "own", budget={"tokens": 5, "tokenizer": "qwen3-8b"})
    with pytest.raises(
        UserError, match=r"budget.tokenizer: 'qwen3-8b' is no backbone of the run with `document_end`. Those are: mini"
    ):
        grid(folder, ["own"])


def test_a_backbone_without_the_end_of_documents_is_refused(folder):
    own(folder, "own")
    content = yaml.safe_load((ROOT / "config" / "backbones" / "mini.yaml").read_text())
    del content["document_end"]
    (folder / "config" / "backbones").mkdir()
    (folder / "config" / "backbones" / "mini.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=r"corpora: no backbone of the run has `document_end`"):
        grid(folder, ["own"])


def test_the_corpora_of_the_paper_come_with_its_run(folder):
    paper, more = (
        yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text(encoding="utf-8"))
        for name in ("paper", "paper-corpora")
    )
    made = Grid({**paper, **more}, Folders(ROOT / "config"))
    tokenised = [job.name for job in made.jobs if job.rule == "tokenise"]
    assert tokenised == [
        f"{corpus}/{backbone}" for corpus in more["corpora"] for backbone in ("llama-3.1-8b", "qwen3-8b", "qwen3-14b")
    ]
    assert sorted({corpus.language for corpus in made.corpora}) == ["ca", "en", "es", "eu", "gl"]
    fetched = {Path(entry["folder"]) for entry in made.repositories}
    assert all({path for path in job.inputs if "cache" in path.parts} <= fetched for job in made.jobs)
