"""A run whose adapted model has an extended vocabulary, and a merge of its merge."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from langmerge.evaluation.sealed import read_sealed
from support.project import TINY_BACKBONE, TINY_RUN, Project
from support.vocabulary import EMBEDDINGS, extend

pytestmark = pytest.mark.workflow

ADDED = 12
TRANSLATION = {
    "task": "mini_translation_{source}_{language}",
    "measure": "mt",
    "metric": "bleu",
    "chat_template": False,
    "generation": {"max_gen_toks": 8},
    "models": ["merges"],
}
CELL, TWICE = "grown/extended/eu/w0.5", "twice/plain/eu/w0.5"


def write_run(finished: Project, folder: Path) -> tuple[Project, list[int]]:
    """A folder with the models of the finished run, of which the adapted one has more tokens; and
    their ids.
    """
    models = folder / "given"
    for name, (model,) in {
        role: finished.results(f"models/tiny/{role}/*/*") for role in ("base", "instruct", "adapted")
    }.items():
        shutil.copytree(model, models / name)
    (references,) = finished.results("data/eu/tasks/mini_translation_en_eu.test.jsonl")
    texts = [json.loads(line)["reference"] for line in references.read_text().splitlines()]
    added = extend(models / "adapted", texts, ADDED)
    methods = {"extended": {"merge_method": "linear", "tokenizer": "adapted"}, "plain": {"merge_method": "linear"}}
    experiments = {
        "first": {"backbones": ["grown"], "methods": ["extended"], "weights": {"each": [0.5]}},
        "second": {"backbones": ["twice"], "methods": ["plain"], "weights": {"each": [0.5]}},
    }
    tables = {
        name: {"layout": "merges", "backbones": [backbone], "methods": [method], "weights": {"each": 0.5}}
        for name, backbone, method in (("first", "grown", "extended"), ("second", "twice", "plain"))
    }
    run = TINY_RUN | {"run": "more", "backbones": ["grown", "twice"], "evaluation_languages": [], "figures": {}}
    run |= {"methods": methods, "experiments": experiments, "tasks": [TRANSLATION], "tables": tables, "keep": [CELL]}
    project = Project.new(folder, run)
    sources = {role: {"path": f"given/{role}"} for role in ("base", "instruct", "adapted")}
    own = {key: TINY_BACKBONE[key] for key in ("dtype", "backend")}
    project.write("backbones/grown.yaml", {**own, "models": sources})
    project.write("backbones/twice.yaml", {**own, "models": {**sources, "instruct": {"model": CELL}}})
    return project, added


def test_an_adapted_model_with_more_tokens(finished, tmp_path):
    """It is merged with the adapted model's tokens and the instruct model's template, evaluated and
    tabulated; so is a merge into that merge.
    """
    project, added = write_run(finished, tmp_path / "project")
    assert len(added) == ADDED
    tables = [f"results/more/tables/{name}.md" for name in ("first", "second")]
    ran = project.run(*tables, "results/more/figures/anatomy.svg")
    expected = {"corpus": 1, "keep": 1, "recipes": 1, "evaluate": 2, "collect": 1, "table": 2, "anatomy": 1}
    assert ran.jobs == expected
    given, kept = project.folder / "given", project.folder / "results/more/kept" / CELL
    folders = given / "instruct", given / "adapted", kept
    instruct, adapted, merged = (
        load_file(path / "model.safetensors")[EMBEDDINGS].astype(np.float32) for path in folders
    )
    assert len(merged) == len(instruct) + ADDED
    np.testing.assert_allclose(merged[added], adapted[added], rtol=0.01)  # bf16
    assert (kept / "tokenizer.json").read_bytes() == (given / "adapted/tokenizer.json").read_bytes()
    assert (kept / "chat_template.jinja").read_bytes() == (given / "instruct/chat_template.jinja").read_bytes()

    (result,) = project.results(f"scores/{TWICE}/eu.*.json")
    sources = [source["model"] for source in read_sealed(result)["model"]["sources"]]
    assert sources == [f"results/more/kept/{CELL}", "given/adapted"]
    scores = pd.read_csv(project.folder / "results/more/scores.csv")
    both = scores[(scores.measure == "mt") & (scores.part == "all")]
    assert {*both.backbone} == {"grown", "twice"}
    per_word = both.groupby("task").tokens_per_word
    assert len(per_word) == 2 and (per_word.nunique() == 1).all(), "the merge of the merge has its tokens"
    plan = json.loads(project.langmerge("plan", "config/config.yaml", "--json"))
    known = {
        tuple(own["models"]): own["per_word"]["eu"] for own in plan["fertility"]["known"] if own["backbone"] == "grown"
    }
    before, after = known["grown/base/none/w0", "grown/instruct/none/w0"], known["grown/adapted/eu/w1",]
    assert both.tokens_per_word.min() < after < both.tokens_per_word.max(), "of both tasks' references together"
    assert after < before
    for table, backbone in zip(tables, ("grown", "twice"), strict=True):
        assert backbone in (project.folder / table).read_text()
    assert project.run("--dry-run", *tables).nothing_to_do
