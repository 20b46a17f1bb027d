"""The figure of the merges' anatomies, from made-up task vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from langmerge.errors import UserError
from langmerge.model import Model
from langmerge.reporting.anatomy import draw, grouped, read_anatomies, tokens_per_word
from langmerge.reporting.inputs import Anatomy
from langmerge.reporting.layouts import LAYOUTS
from langmerge.reporting.scores import collect
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import Spec

LANGUAGES = ["eu", "gl"]
LAYERS = [0, 1]
SIZE = 4000


def vectors(seed: int) -> dict[str, np.ndarray]:
    """The task vectors of one module in each layer."""
    generator = np.random.default_rng(seed)
    return {f"model.layers.{layer}.mlp.up_proj.weight": generator.normal(size=SIZE) for layer in LAYERS}


INSTRUCT = vectors(0)
ADAPTED = {code: vectors(seed) for seed, code in enumerate(LANGUAGES, start=1)}


def write(folder: Path, method: str, target: tuple[str, ...], weight: float) -> Anatomy:
    """What `langmerge merge --anatomy` would write of a merge."""
    scale = 1 / (1 + weight * len(target)) if method == "linear" else 1
    rows = []
    for name, first in INSTRUCT.items():
        members = {"models/instruct": first} | {f"models/{code}": ADAPTED[code][name] for code in target}
        members["merged"] = scale * (first + weight * sum(ADAPTED[code][name] for code in target))
        for model, vector in members.items():
            rows.append(
                {
                    "tensor": name,
                    "layer": int(name.split(".")[2]),
                    "module": "mlp.up_proj",
                    "size": SIZE,
                    "examined": SIZE,
                    "model": model,
                    "norm": np.linalg.norm(vector),
                    "base_norm": 100.0,
                    "cosine": vector @ first / np.linalg.norm(vector) / np.linalg.norm(first),
                    "conflicts": (vector * first < 0).mean(),
                    "kept": 1.0,
                }
            )
    path = folder / f"{method}-{'+'.join(target)}-{weight}.parquet"
    pd.DataFrame(rows).to_parquet(path)
    roles = {"models/instruct": "instruct"} | {f"models/{code}": code for code in target}
    return Anatomy(path, Model("mini", method, target, weight), roles)


def translated(model: Model, language: str, tokens: int, task: str = "mt") -> tuple[Path, dict]:
    """The result of a model whose tokenizer makes so many tokens of ten words."""
    score = {"language": language, "measure": "mt", "task": task, "seed": None, "fingerprint": task}
    score |= {"value": 1.0, "stderr": None, "n": 1, "fertility": {"words": 10, "tokens": tokens}}
    return Path("r.json"), {"cell": model.columns(), "scores": [score]}


SCORES = collect(
    [
        translated(Model("mini", "base"), "eu", 30),
        translated(Model("mini", "instruct"), "eu", 30),
        translated(Model("mini", "adapted", ("eu",)), "eu", 20, "first"),
        translated(Model("mini", "adapted", ("eu",)), "eu", 24, "second"),
        translated(Model("mini", "joint", ("eu",)), "eu", 50),
        translated(Model("mini", "linear", ("eu",), 0.5), "eu", 22),
        translated(Model("mini", "linear", ("eu",), 1.0), "eu", 22),
        translated(Model("mini", "base"), "en", 15),
        translated(Model("other", "base"), "en", 90),
    ]
)
NONE = tokens_per_word(SCORES.head(0))


@pytest.fixture(scope="module")
def anatomies(tmp_path_factory) -> list[Anatomy]:
    folder = tmp_path_factory.mktemp("anatomies")
    single = [
        write(folder, method, (code,), weight)
        for method in ("linear", "task_arithmetic")
        for code in LANGUAGES
        for weight in (0.5, 1.0)
    ]
    return [*single, write(folder, "linear", ("eu", "gl"), 0.25)]


def test_tensors_of_a_group_are_taken_together_as_one_vector(anatomies):
    rows = read_anatomies(anatomies)
    merged = grouped(rows[rows["target"] == "eu"], ["model", "method", "weight"]).loc["merged"]
    first, second = (np.concatenate(list(tensors.values())) for tensors in (INSTRUCT, ADAPTED["eu"]))
    for weight in (0.5, 1.0):
        vector = first + weight * second
        length = np.linalg.norm(vector) / np.linalg.norm(first)
        assert merged.distance["task_arithmetic", weight] == pytest.approx(length)
        assert merged.distance["linear", weight] == pytest.approx(length / (1 + weight))
        cosine = vector @ first / np.linalg.norm(vector) / np.linalg.norm(first)
        assert merged.cosine["linear", weight] == pytest.approx(cosine)
        assert merged.conflicts["linear", weight] == pytest.approx(100 * (vector * first < 0).mean())
    sources = grouped(rows[rows["target"] == "eu"], ["model", "layer"])
    name = next(iter(INSTRUCT))
    assert sources.norm["eu", 0] == pytest.approx(np.linalg.norm(ADAPTED["eu"][name]) / 100)


def test_panels_show_the_sources_and_the_merges(anatomies):
    labels = {"backbones": {"mini": "Mini"}, "methods": {"linear": "Linear"}, "languages": {"eu": "Basque"}}
    figure = draw(read_anatomies(anatomies), NONE, Spec(languages=LANGUAGES, labels=labels))
    assert [axes.get_title().replace("\n", " ") for axes in figure.axes] == [
        "Size of the change (norm, base = 1)",
        "Direction compared with instruct (cosine)",
        "Weights changed against instruct (%)",
        "Size of the merge's change (instruct = 1)",
        "",
        "",
        "",
        "Direction of the merge (cosine with instruct)",
    ]
    assert figure.axes[0].get_ylabel() == "Mini\nby layer"
    assert [len(axes.lines) for axes in figure.axes[:3]] == [3, 2, 3], (
        "instruct is compared with itself in none; 50% of signs by chance"
    )
    widths = [line.get_linewidth() for line in figure.axes[1].lines]
    assert widths == sorted(widths, reverse=True) and len({*widths}) == 2, "the lower of two lines shows at both sides"
    rows = [list(line.get_ydata()) for line in figure.axes[4].lines]
    assert len({row[0] for row in rows}) == 3, "the points of a module are below each other"
    *methods, one = figure.axes[3].lines
    assert [list(line.get_xdata()) for line in methods] == [[0.5, 1.0], [0.5, 1.0]]
    assert list(one.get_ydata()) == [1, 1]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["instruct model", "Basque", "gl", "Linear", "task_arithmetic"]


def test_the_lowest_row_shows_tokens_per_word(anatomies):
    tokens = tokens_per_word(SCORES)
    values = tokens[tokens["backbone"] == "mini"].set_index(["language", "model"])["value"]
    assert values.to_dict() == {
        ("en", "base"): 1.5,
        ("eu", "base"): 3,
        ("eu", "instruct"): 3,
        ("eu", "eu"): 2.2,
        ("eu", "linear"): 2.2,
    }
    figure = draw(read_anatomies(anatomies), tokens, Spec(languages=LANGUAGES, labels={"languages": {"eu": "Basque"}}))
    *_, axes = figure.axes
    assert len(figure.axes) == 9
    assert axes.get_ylabel() == "tokens per word"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["Basque", "en"]
    shown = [list(line.get_ydata()) for line in axes.lines]
    assert shown == [[1.5, 3], [3], [2.2], [2.2]]
    places = [list(line.get_xdata())[-1] for line in axes.lines]
    assert places == sorted(places) and places[0] > -0.5 and places[-1] < 0.5, "within the language, side by side"
    assert figure.legends[0].get_texts()[0].get_text() == "base model"


def test_a_run_of_merges_of_all_languages_alone_is_no_error(anatomies):
    figure = draw(read_anatomies(anatomies[-1:]), NONE, Spec(languages=LANGUAGES))
    assert len(figure.axes) == 8
    assert not any(axes.lines for axes in figure.axes)


def test_the_same_anatomies_give_the_same_bytes(anatomies):
    spec = {"languages": LANGUAGES}
    one, two = (LAYOUTS["anatomy"].make(Sources(SCORES, anatomies=anatomies), spec, "anatomy") for _ in range(2))
    assert tuple(one) == LAYOUTS["anatomy"].formats
    assert one == two
    assert one["png"].startswith(b"\x89PNG") and one["pdf"].startswith(b"%PDF") and b"<svg" in one["svg"]


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(UserError, match="no merge of the run has an anatomy"):
        read_anatomies([])
    broken = tmp_path / "broken.parquet"
    broken.write_text("no")
    for path in (tmp_path / "nowhere.parquet", broken):
        with pytest.raises(UserError, match=f"{path.name} is not an anatomy"):
            read_anatomies([Anatomy(path, Model("mini", "linear", ("eu",), 1.0), {})])
