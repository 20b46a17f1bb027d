"""Corpora of a run: their files, what names them, what they need of a hub, their jobs."""

from __future__ import annotations

import copy
import os
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
from langmerge.overview.plan import Plan
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


# ---- a training that reads a corpus


def backbone(folder: Path, name: str = "own-{language}", **more) -> None:
    """A copy of the miniature whose adapted models learn from a corpus."""
    content = yaml.safe_load((ROOT / "config" / "backbones" / "mini.yaml").read_text())
    recipe = {**content["models"]["adapted"]["train"], "data": {name: 0.9, "en/corpus": 0.1}, **more}
    content["models"]["adapted"] = {"train": recipe}
    path = folder / "config" / "backbones" / "mini.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content))


ADAPTED = "mini/adapted/eu/w1"


def key(made: Grid) -> str:
    return made.identity.model_key(made.models[ADAPTED])


def test_a_training_reads_the_tokens_of_a_corpus(folder):
    own(folder, "own-eu", held_out=1)
    backbone(folder, held_out={"{language}": "own-{language}"})
    made = grid(folder, [])
    (train,) = [job for job in made.jobs if job.model and job.rule == "train" and job.model.id == ADAPTED]
    tokens = Path("results/mini/corpora/own-eu/tokens/mini")
    assert tokens in train.inputs
    recipe = made.recipes.train(made.models[ADAPTED])
    assert recipe["data"] == {str(tokens / "train"): 0.9, "results/mini/data/en/corpus.jsonl": 0.1}
    assert recipe["held_out"] == {"eu": str(tokens / "held_out")}
    rules = [job.rule for job in made.jobs]
    assert all(rules.count(rule) == 1 for rule in ("clean", "select", "contamination", "tokenise", "table1"))
    (curves,) = [job for job in made.jobs if job.rule == "curves"]
    assert curves.inputs == (Path("results/mini/models") / ADAPTED,)
    assert Path("results/mini/figures/curves.svg") in curves.outputs


def test_the_model_is_known_by_the_content_of_the_corpus(folder):
    own(folder, "own-eu")
    backbone(folder)
    known = {key(grid(folder, []))}
    tasks = [task for task in RUN["tasks"] if "calendar" not in task["task"]]
    assert key(grid(folder, [], tasks=tasks)) in known
    assert key(grid(folder, ["own-eu"], cache="elsewhere")) in known
    for change in (
        {"duplicates": "none"},
        {"held_out": 1},
        {"budget": {"words": 9}},
        {"budget": {"tokens": 9, "tokenizer": "mini"}},
        {"contamination": {"action": "drop"}},
    ):
        own(folder, "own-eu", **change)
        found = key(grid(folder, []))
        assert found not in known
        known.add(found)
    # Only where documents are dropped does it matter what is evaluated.
    assert key(grid(folder, [], tasks=tasks)) not in known
    own(folder, "own-eu")
    (folder / "a.jsonl").write_text('{"text": "hiru"}\n')
    assert key(grid(folder, [])) not in known


def test_contamination_is_waited_for_where_documents_are_dropped(folder):
    searched = Path("results/mini/corpora/own/searched")
    for action, waits in (("report", False), ("drop", True)):
        own(folder, "own", contamination={"action": action})
        (job,) = [job for job in grid(folder, ["own"]).jobs if job.rule == "tokenise"]
        assert (searched in job.inputs) == waits


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("onw-{language}", {}, r"mini.yaml:\d+.* models.adapted.train: unknown corpus 'onw-eu'.*Did you mean 'own-eu'"),
        ("own-{lang}", {}, r"\{lang\} in 'own-\{lang\}' is not filled in"),
        ("data/own", {}, r"'data/own' is no training text. Expected <language>/corpus.*a file in config/corpora"),
        (
            "own-eu",
            {"held_out": {"eu": "own-eu"}},
            r"train.held_out: own-eu has no held-out part. Say in .*own-eu.yaml",
        ),
    ],
)
def test_what_a_training_cannot_read_is_refused(folder, name, more, message):
    own(folder, "own-eu")
    backbone(folder, name, **more)
    with pytest.raises(UserError, match=message):
        grid(folder, [])


def test_hours_of_a_corpus_are_planned_from_the_size_of_its_files(folder):
    own(folder, "own", source={"hub": "a/b", "files": ["*.parquet"], "gb": 1}, duplicates="minhash")
    plan = Plan(grid(folder, ["own"]))
    cores = min(16, os.cpu_count())
    times = {time.rule: time for time in plan.times}
    assert times["clean"].hours == pytest.approx((2.5e9 / 1.1e6 + 2.5e9 / 1.8e6) / cores / 3600)
    assert times["tokenise"].hours == pytest.approx(2.5e9 / 4 / 0.67e6 / cores / 3600)
    assert {time.source for time in (times["clean"], times["tokenise"])} == {"estimated"}
    own(folder, "own", source={"hub": "a/b", "files": ["*.parquet"]})
    assert {time.rule: time.source for time in Plan(grid(folder, ["own"])).times}["clean"] == "unknown"
