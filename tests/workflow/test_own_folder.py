"""Where langmerge can be used from: its own checkout, a folder of the user's own, and another
workflow that includes it.

The user's folder has a path with a space, an apostrophe and a letter beyond ASCII, and everything
that a user may have: a language, a backbone of given models that replaces a shipped one, a
benchmark with its data, and a file for Slurm.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from langmerge.evaluation.sealed import read_sealed
from support.own_corpus import texts, write
from support.paths import ROOT
from support.project import TINY_BACKBONE, TINY_RUN, TINY_TRAINING, Project

pytestmark = pytest.mark.workflow

NAME = "l'època nova"

RUN = {
    "run": "own",
    "results": "els resultats d'avuí",
    "languages": ["oc"],
    "backbones": ["mini"],
    "methods": {"linear": {"merge_method": "linear"}},
    "experiments": {"sweep": {"methods": ["linear"], "weights": {"each": [0.5]}}},
    "tasks": [{"task": "quiz_{language}", "measure": "benchmark", "metric": "acc"}],
    "tables": {"table2": {"layout": "adapted"}},
}

LANGUAGE = {"name": "Occitan", "locale": "oc", "mt_sources": ["en"], "benchmarks": {"quiz_oc": {}}}

BACKBONE = {
    "label": "Ours",
    "dtype": "bfloat16",
    "models": {
        "base": {"path": "given/the base"},
        "instruct": {"path": "given/l'instruït"},
        "adapted": {"path": "given/{language} adapted", "languages": ["oc"]},
    },
    "backend": {"backend": "hf", "dtype": "float32", "batch_size": 16, "max_length": 512},
}

GIVEN = {"base": "the base", "instruct": "l'instruït", "adapted": "oc adapted"}

TASK = {
    "task": "quiz_oc",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "../data/un quiz d'òc.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "choices",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}

QUESTIONS = [
    {"question": f"{number} + 1 =", "choices": [str(number), str(number + 1)], "answer": 1} for number in range(6)
]

JOBS = {"recipes": 1, "evaluate": 4, "collect": 1, "table": 1, "anatomy": 1, "report": 1, "all": 1}
"""The jobs of the run from nothing: no corpus and no training, for data and models are given."""


def write_own(folder: Path, finished: Project) -> Project:
    """A user's folder with everything of its own; its models are those of the finished run."""
    project = Project(folder, copy.deepcopy(RUN))
    project.configure()
    project.write("languages/oc.yaml", LANGUAGE)
    project.write("backbones/mini.yaml", BACKBONE)
    project.write("benchmarks.yaml", {"quiz_oc": {"path": "tasks/quiz_oc.yaml"}})
    for name, content in {"tasks/quiz_oc.yaml": TASK, "slurm/site.yaml": {"account": "ours"}}.items():
        (folder / name).parent.mkdir()
        (folder / name).write_text(yaml.safe_dump(content, allow_unicode=True))
    (folder / "data").mkdir()
    pd.DataFrame(QUESTIONS).to_json(folder / "data" / "un quiz d'òc.jsonl", orient="records", lines=True)
    for role, name in GIVEN.items():
        (model,) = finished.results(f"models/tiny/{role}/*/*")
        shutil.copytree(model, folder / "given" / name)
    return project


@pytest.fixture(scope="module")
def own(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The user's folder with a run that was made in another current folder: the cell really, the
    references pretended.
    """
    project = write_own(tmp_path_factory.mktemp("own") / NAME, finished)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    cell = {"recipes": 1, "evaluate": 1}
    assert project.run(project.mark("mini/linear/oc/w0.5"), cwd=elsewhere).jobs == cell
    rest = project.with_stubs("batch").run(cwd=elsewhere).jobs
    assert rest + Counter(cell) == JOBS
    return project


@pytest.fixture
def project(own: Project, tmp_path: Path) -> Project:
    """A copy of that folder, in which slow commands are pretended from now on."""
    return own.copy(tmp_path / NAME).with_stubs()


def test_in_the_checkout_the_same_run_gives_the_same_bytes(finished: Project, tmp_path: Path) -> None:
    """Two runs from nothing: one in a user's folder, one in the checkout itself.

    One evaluation is repeated and compared, with its parts and its answers; the other results are
    copied.
    """
    again = Project.in_checkout(tmp_path / "checkout", copy.deepcopy(TINY_RUN))
    again.run(again.mark("tiny/linear/eu/w1"))
    for pattern in ("scores/tiny/linear/eu/w1/**/*.json", "samples/tiny/linear/eu/w1/*"):
        made = again.results(pattern)
        assert made
        assert [path.read_bytes() for path in made] == [
            (finished.folder / path.relative_to(again.folder)).read_bytes() for path in made
        ]
    for name in ("scores", "samples"):
        folder = f"results/tiny/{name}"
        shutil.copytree(finished.folder / folder, again.folder / folder, dirs_exist_ok=True)
    again.run()
    for pattern in ("models/tiny/*/*/*/model.safetensors", "scores.csv", "tables/*", "figures/*"):
        first, second = finished.results(pattern), again.results(pattern)
        assert first
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second], pattern
    assert again.run("--dry-run").nothing_to_do


def test_the_users_files_are_used(own: Project) -> None:
    (path,) = own.results("scores.csv")
    scores = pd.read_csv(path)
    assert {*scores.task} == {"quiz_oc"}
    assert {*scores[(scores.part == "all") & (scores.method == "linear")].n} == {len(QUESTIONS)}
    (result,) = own.results("scores/mini/linear/oc/w0.5/oc.*.json")
    assert [Path(source["model"]).name for source in read_sealed(result)["model"]["sources"]] == [
        GIVEN["instruct"],
        GIVEN["adapted"],
    ]
    (table,) = own.results("tables/table2.md")
    assert "Ours" in table.read_text()


def test_the_users_file_for_slurm_is_read(project: Project) -> None:
    (project.folder / "slurm" / "site.yaml").write_text("acount: ours")
    assert "slurm/site.yaml:1: acount: unknown key" in project.run("--dry-run", expect=1).output


def test_nothing_runs_again_wherever_and_however_snakemake_is_started(own: Project, tmp_path: Path) -> None:
    assert own.run("--dry-run").nothing_to_do
    assert own.run("--dry-run", cwd=tmp_path).nothing_to_do
    assert own.run("--dry-run", cwd=own.folder / "config").nothing_to_do
    host = tmp_path / "Snakefile"
    host.write_text(f'include: "{ROOT}/Snakefile"\n')
    assert own.run("--dry-run", "all", snakefile=host).nothing_to_do


MODULE = """
configfile: "config/config.yaml"


module langmerge:
    snakefile:
        "{root}/Snakefile"
    config:
        config


use rule * from langmerge{renamed}


rule everything:
    default_target: True
    input:
        rules.{prefix}all.input,
"""


@pytest.mark.parametrize("prefix", ["", "lm_"])
def test_as_a_module_of_another_workflow(finished: Project, own: Project, tmp_path: Path, prefix: str) -> None:
    project = write_own(tmp_path / NAME, finished).with_stubs()
    snakefile = project.folder / "Snakefile"
    snakefile.write_text(MODULE.format(root=ROOT, renamed=f" as {prefix}*" if prefix else "", prefix=prefix))
    expected = {f"{prefix}{rule}": count for rule, count in JOBS.items() if rule != "all"} | {"everything": 1}
    assert project.run(snakefile=snakefile).jobs == expected
    assert project.run("--dry-run", snakefile=snakefile).nothing_to_do
    assert project.run("--dry-run", cwd=tmp_path, snakefile=snakefile).nothing_to_do
    # Results have the same names, however the run was made.
    names = [path.relative_to(project.folder) for path in project.results("scores/**/*.json")]
    assert names == [path.relative_to(own.folder) for path in own.results("scores/**/*.json")]


def test_a_folder_that_init_writes(tmp_path: Path) -> None:
    """Its Snakefile, its configuration and its profiles work as they are."""
    project = Project(tmp_path / NAME, {})
    Project(tmp_path, {}).langmerge("init", str(project.folder))
    project.config = yaml.safe_load((project.folder / "config" / "config.yaml").read_text())
    ran = project.run("--dry-run", snakefile=project.folder / "Snakefile")
    assert "evaluate" in ran.output
    assert (project.folder / "slurm" / "config.yaml").read_text() == (ROOT / "slurm" / "config.yaml").read_text()


# ---- given models are known by their content


def test_dates_and_other_files_of_given_models_do_not_matter(own: Project, tmp_path: Path) -> None:
    project = own.copy(tmp_path / NAME)
    for path in (project.folder / "given").rglob("*"):
        path.touch()
    (project.folder / "given" / GIVEN["adapted"] / "notes.txt").write_text("of mine")
    for path in (project.folder / "given").iterdir():
        path.touch()
    assert project.run("--dry-run").nothing_to_do


def test_other_content_under_the_same_path(project: Project) -> None:
    """The model is evaluated again, and merged again where it is merged; the others are not."""
    weights = project.folder / "given" / GIVEN["adapted"] / "model.safetensors"
    content = load_file(weights)
    name = min(content)
    content[name] = content[name] * 2
    save_file(content, weights, {"format": "pt"})
    old = {*project.results("scores/**/oc.*.json")}
    assert project.run().jobs == {**JOBS, "evaluate": 2}
    new = {*project.results("scores/**/oc.*.json")} - old
    assert {path.parent.as_posix().split("/scores/")[1] for path in new} == {
        "mini/adapted/oc/w1",
        "mini/linear/oc/w0.5",
    }
    assert project.run("--dry-run").nothing_to_do


@pytest.mark.parametrize("name", ["tasks/quiz_oc.yaml", "data/un quiz d'òc.jsonl"])
def test_a_changed_benchmark_is_asked_again(project: Project, name: str) -> None:
    path = project.folder / name
    path.touch()
    assert project.run("--dry-run").nothing_to_do
    text = (
        path.read_text().replace("+ 1 =", "+ 1 is")
        if name.startswith("data")
        else path.read_text() + "num_fewshot: 0\n"
    )
    assert text != path.read_text()
    path.write_text(text)
    assert project.run().jobs == JOBS


# ---- a corpus of the user's


def test_from_a_corpus_to_the_scores_of_a_merge(finished: Project, tmp_path: Path) -> None:
    """Text is cleaned, selected, searched, tokenised and learned, and the model is merged and
    evaluated, in one run.
    """
    project = finished.copy(tmp_path / NAME)
    write(project.folder / "data" / "a.jsonl", [*texts(300), *texts(20)])
    project.write("corpora/ours-eu.yaml", {"language": "eu", "source": {"paths": ["data/*.jsonl"]}, "held_out": 20})
    recipe = {**TINY_TRAINING, "from": "base", "data": {"ours-{language}": 0.9, "en/corpus": 0.1}}
    recipe["held_out"] = {"{language}": "ours-{language}"}
    models = {**TINY_BACKBONE["models"], "adapted": {"train": recipe}}
    project.write("backbones/tiny.yaml", {**TINY_BACKBONE, "models": models, "document_end": "<|eos|>"})
    table = str(Path("results/tiny/tables/table1.csv"))
    cell = "tiny/linear/eu/w1"
    curves = str(Path("results/tiny/figures/curves.svg"))
    ran = project.run(project.mark(cell), table, curves)
    steps = (
        "clean",
        "select",
        "items",
        "contamination",
        "tokenise",
        "table1",
        "train",
        "curves",
        "recipes",
        "evaluate",
    )
    assert ran.jobs == dict.fromkeys(steps, 1)
    (row,) = pd.read_csv(project.folder / table).to_dict("records")
    assert row["documents"] == 280
    (model,) = project.results("models/tiny/adapted/eu/w1")
    recipe = json.loads((model / "langmerge.json").read_text())["recipe"]
    tokens = "results/tiny/corpora/ours-eu/tokens/tiny"
    assert recipe["data"] == {f"{tokens}/train": 0.9, "results/tiny/data/en/corpus.jsonl": 0.1}
    assert recipe["held_out"] == {"eu": f"{tokens}/held_out"}
    evaluated = [line for line in (model / "history.jsonl").read_text().splitlines() if "bits_per_byte" in line]
    assert len(evaluated) == TINY_TRAINING["steps"] + 1
    old = {path.name for path in finished.results(f"scores/{cell}/eu.*.json")}
    (result,) = [path for path in project.results(f"scores/{cell}/eu.*.json") if path.name not in old]
    assert read_sealed(result)["scores"][0]["n"] == TINY_RUN["world"]["documents"]
    assert project.run("--dry-run", str(model.relative_to(project.folder)), table, curves).nothing_to_do


def test_an_adapter_that_the_run_trains_is_merged_and_evaluated(finished: Project, tmp_path: Path) -> None:
    """Its model's folder holds the adapter alone; merges and its own evaluation add it to the base,
    on disk or in memory.
    """
    project = finished.copy(tmp_path / NAME)
    models = copy.deepcopy(TINY_BACKBONE["models"])
    models["adapted"]["train"]["lora"] = {"rank": 2}
    project.write("backbones/tiny.yaml", {**TINY_BACKBONE, "models": models})
    project.configure(weights=[1], merges="disk")
    reference, cell = "tiny/adapted/eu/w1", "tiny/linear/eu/w1"
    ran = project.run(project.mark(reference), project.mark(cell))
    assert ran.jobs == {"train": 1, "recipes": 1, "merge": 1, "evaluate": 2}
    adapter = Path("results/tiny/models") / reference
    assert not (project.folder / adapter / "model.safetensors").exists()
    base = "results/tiny/models/tiny/base/none/w0"
    for id, position in ((reference, 0), (cell, 1)):
        old = {path.name for path in finished.results(f"scores/{id}/eu.*.json")}
        (result,) = [path for path in project.results(f"scores/{id}/eu.*.json") if path.name not in old]
        assert read_sealed(result)["model"]["sources"][position]["model"] == f"{base}+{adapter}"
