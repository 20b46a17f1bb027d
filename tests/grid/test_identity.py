"""langmerge/grid/identity.py: names of results follow the content of what determines them, and not
paths and dates.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from langmerge.errors import UserError
from langmerge.evaluation.taskfiles import forget_files
from langmerge.grid.grid import Grid
from langmerge.model import Model

RUN = {
    "run": "own",
    "languages": ["eu"],
    "backbones": ["ours"],
    "weights": [1],
    "methods": {"linear": {"merge_method": "linear"}},
    "experiments": {"one": {"methods": ["linear"]}},
    "tasks": [
        {"task": "quiz", "measure": "benchmark", "metric": "acc"},
        {"task": "belebele_eus_Latn", "measure": "benchmark", "metric": "acc"},
    ],
}
TASK = {
    "task": "quiz",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "quiz.jsonl"}},
    "test_split": "test",
}
TRAINING = {"from": "base", "data": {"texts/eu.jsonl": 1}, "steps": 1}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A user's own folder: three models on disk, one trained on a corpus on disk, and a task with
    its data.
    """
    monkeypatch.chdir(tmp_path)
    for name in ("base", "instruct", "eu"):
        write_model(Path("models") / name, hash(name) % 7 + 1)
    models = {name: {"path": f"models/{name}"} for name in ("base", "instruct")}
    write(
        "config/backbones/ours.yaml",
        {"dtype": "float32", "models": {**models, "adapted": {"path": "models/{language}"}}},
    )
    write("config/benchmarks.yaml", {"quiz": {"path": "tasks/quiz.yaml"}})
    write("tasks/quiz.yaml", TASK)
    Path("tasks/quiz.jsonl").write_text('{"question": "1 + 1", "choices": ["2", "3"], "answer": 0}\n')
    Path("texts").mkdir()
    Path("texts/eu.jsonl").write_text('{"text": "kaixo"}\n')
    return tmp_path


def write(path: str, content: object) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(yaml.safe_dump(content))


def write_model(folder: Path, value: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"weight": np.full(4, value, np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")


def names(**changes) -> dict[str, str]:
    """The sealed results of the run, by model."""
    forget_files()
    grid = Grid(copy.deepcopy({**RUN, **changes}))
    return {result.model.id: result.path.name for result in grid.results}


def changed(before: dict[str, str], **changes) -> set[str]:
    """The models whose results have other names now."""
    after = names(**changes)
    assert before.keys() == after.keys()
    return {id for id in before if before[id] != after[id]}


ALL = {"ours/base/none/w0", "ours/instruct/none/w0", "ours/adapted/eu/w1", "ours/linear/eu/w1"}


def test_nothing_changes_by_itself(folder):
    assert names().keys() == ALL
    assert not changed(names())


@pytest.mark.parametrize(
    ("file", "models"),
    [
        ("models/eu/model.safetensors", {"ours/adapted/eu/w1", "ours/linear/eu/w1"}),
        ("models/eu/tokenizer.json", {"ours/adapted/eu/w1", "ours/linear/eu/w1"}),
        ("models/base/config.json", {"ours/base/none/w0"}),
        ("models/instruct/chat_template.jinja", {"ours/instruct/none/w0", "ours/linear/eu/w1"}),
    ],
)
def test_other_content_under_the_same_path(folder, file, models):
    """With the same size and date, too: what counts is the content."""
    before, path = names(), Path(file)
    stat = path.stat() if path.exists() else None
    content = bytearray(path.read_bytes() if stat else b"{{ messages }}")
    content[-1] ^= 1
    path.write_bytes(content)
    if stat:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert changed(before) == models


def test_newer_dates_and_other_files_beside_the_weights_change_nothing(folder):
    before = names()
    for path in folder.rglob("*"):
        os.utime(path, (2_000_000_000, 2_000_000_000))
    Path("models/eu/notes.md").write_text("trained on Friday")
    (Path("models/eu/.cache")).mkdir()
    assert not changed(before)


def test_a_model_that_has_moved_is_the_same_model(folder):
    before = names()
    Path("models").rename("elsewhere")
    models = {name: {"path": f"elsewhere/{name}"} for name in ("base", "instruct")}
    write(
        "config/backbones/ours.yaml",
        {"dtype": "float32", "models": {**models, "adapted": {"path": "elsewhere/{language}"}}},
    )
    assert not changed(before)


def test_a_revision_is_part_of_the_name_too(folder):
    before = names()
    content = yaml.safe_load(Path("config/backbones/ours.yaml").read_text())
    content["models"]["adapted"]["revision"] = "second"
    write("config/backbones/ours.yaml", content)
    assert changed(before) == {"ours/adapted/eu/w1", "ours/linear/eu/w1"}


@pytest.mark.parametrize("file", ["tasks/quiz.yaml", "tasks/quiz.jsonl"])
def test_a_task_of_the_users_own_and_its_data(folder, file):
    before = names()
    with Path(file).open("a") as text:
        text.write(
            "num_fewshot: 1\n" if file.endswith("yaml") else '{"question": "2", "choices": ["2", "3"], "answer": 0}\n'
        )
    assert changed(before) == ALL


def test_a_task_that_another_task_changes_beside_it(folder):
    before = names()
    write("tasks/other.yaml", {**TASK, "task": "other"})
    assert not changed(before)


def test_a_corpus_of_the_users_own_changes_the_models_that_are_trained_on_it(folder):
    content = yaml.safe_load(Path("config/backbones/ours.yaml").read_text())
    content["models"]["adapted"] = {"train": TRAINING}
    write("config/backbones/ours.yaml", content)
    before = names()
    Path("texts/eu.jsonl").write_text('{"text": "agur!"}\n')
    assert changed(before) == {"ours/adapted/eu/w1", "ours/linear/eu/w1"}
    key = Grid(copy.deepcopy(RUN)).identity.model_key(Model("ours", "adapted", ("eu",)))
    assert json.dumps(key) != json.dumps(None)


def test_two_sets_of_weights_in_one_folder_are_refused(folder):
    Path("models/eu/model.safetensors.index.json").write_text('{"weight_map": {"weight": "model.safetensors"}}')
    with pytest.raises(UserError, match=r"models/eu holds two sets of weights"):
        names()


@pytest.mark.parametrize(
    "file", ["tasks/quiz.yaml", "tasks/quiz.jsonl", "texts/eu.jsonl", "models/eu/model.safetensors"]
)
def test_what_is_missing_is_named_before_any_job(folder, file):
    content = yaml.safe_load(Path("config/backbones/ours.yaml").read_text())
    if file.startswith("texts"):
        content["models"]["adapted"] = {"train": TRAINING}
        write("config/backbones/ours.yaml", content)
    Path(file).unlink()
    with pytest.raises(UserError, match=Path(file).stem):
        names()


def test_an_own_task_with_the_name_of_another_one_is_seen(folder):
    """It would be evaluated in place of lm-eval's, or of the shipped one."""
    before = names()
    write("tasks/belebele.yaml", {**TASK, "task": "belebele_eus_Latn"})
    assert changed(before) == ALL


def test_a_judge_on_disk_is_known_by_its_content(folder):
    catalogue = yaml.safe_load(Path("config/benchmarks.yaml").read_text())
    safety = {"dataset": "lab/prompts", "prompts": {"split": "test", "column": "prompt"}}
    write("config/benchmarks.yaml", {**catalogue, "safety_harmful_eu": safety})
    write_model(Path("judge"), 1)
    judged = {
        "tasks": [{"task": "safety_harmful_eu", "measure": "safety", "metric": "refused"}],
        "judge": {"kind": "classifier", "path": "judge", "refusal": ["refusal"]},
    }
    before = names(**judged)
    assert not changed(before, **judged)
    write_model(Path("judge"), 2)
    assert changed(before, **judged) == ALL


# ---- adapters


@pytest.fixture
def adapter(folder) -> Path:
    """The adapted model as a LoRA adapter of the base."""
    path = Path("adapters/eu")
    path.mkdir(parents=True)
    (path / "adapter_model.safetensors").write_bytes(b"factors")
    (path / "adapter_config.json").write_text("{}")
    backbone(adapted={"path": "adapters/{language}", "base": "base"})
    return path


def backbone(backend: dict | None = None, **models) -> None:
    given = {name: {"path": f"models/{name}"} for name in ("base", "instruct")}
    content = {"dtype": "float32", "models": {**given, **models}}
    write("config/backbones/ours.yaml", {**content, "backend": backend} if backend else content)


@pytest.mark.parametrize("merges", ["memory", "disk"])
def test_an_adapter_is_read_with_its_model(adapter, merges):
    grid = Grid({**copy.deepcopy(RUN), "merges": merges})
    reference, cell = grid.models["ours/adapted/eu/w1"], grid.models["ours/linear/eu/w1"]
    members = [entry["model"] for entry in grid.recipes.merge(cell)["models"]]
    assert members == ["models/instruct", "models/base+adapters/eu"]
    alone = grid.recipes.merge(reference)
    assert (alone["merge_method"], alone["models"]) == ("passthrough", [{"model": "models/base+adapters/eu"}])
    batches = {batch.models[0].id: batch for batch in grid.batches}
    assert batches[reference.id].in_memory
    assert batches[cell.id].in_memory == (merges == "memory")
    both = {Path("models/base"), adapter}
    assert both <= {*grid.batches.reads(batches[reference.id])}
    made = [job for job in grid.jobs if job.model == cell and job.rule == "merge"]
    assert all(both <= {*job.inputs} for job in made) and len(made) == (merges == "disk")
    assert {model.id for batch in batches.values() for model in batch.models} == ALL


@pytest.mark.parametrize("file", ["adapters/eu/adapter_model.safetensors", "adapters/eu/adapter_config.json"])
def test_an_adapter_is_known_by_its_content(adapter, file):
    before = names()
    Path(file).write_text("{ }")
    assert changed(before) == {"ours/adapted/eu/w1", "ours/linear/eu/w1"}


def test_an_adapter_depends_on_its_model(adapter):
    before = names()
    Path("models/base/config.json").write_text("{ }")
    assert changed(before) == {"ours/base/none/w0", "ours/adapted/eu/w1", "ours/linear/eu/w1"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"adapted": {"path": "models/eu", "base": "base"}},
            "models.adapted.path: models/eu holds no adapter_model.safetensors",
        ),
        ({"adapted": {"path": "adapters/eu"}}, r"adapters/eu is a LoRA adapter, no model"),
        ({"instruct": {"path": "adapters/eu", "base": "base"}}, "an adapter can be the adapted or the joint model"),
        (
            {"adapted": {"path": "more+more/eu", "base": "base"}},
            r"more\+more/eu: \+ stands between a model and its adapter",
        ),
        ({"backend": {"backend": "vllm", "quantization": "awq"}}, "`quantization`, whose weights cannot be replaced"),
    ],
)
def test_adapters_that_cannot_be_added_are_refused(adapter, given, message):
    Path("more+more").mkdir()
    adapter.rename("more+more/eu") if "more" in message else None
    backbone(**{"adapted": {"path": "adapters/{language}", "base": "base"}, **given})
    with pytest.raises(UserError, match=message):
        names()
