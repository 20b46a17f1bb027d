"""The merge anatomy's figure: where the task vectors of instruct and language models collide, and how far each method goes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from langmerge.errors import UserError
from langmerge.reporting.figures import MARKERS, OKABE_ITO, paper_style, rendered, weight_text

INSTRUCT = "instruct"
MERGED = "merged"
INSTRUCT_LOOK = {"color": "#555555", "marker": "", "linestyle": "--"}
TITLES = {
    "norm": "Size of the task vectors\n(norm / norm of the base)",
    "cosine": "Cosine with the\ninstruct task vector",
    "conflicts": "Sign conflicts with the\ninstruct task vector (%)",
}


def read_anatomies(records: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows of all merges' anatomies.

    Args:
        records: for each merge: file (its Parquet file), backbone, method, target, weight, and models: {folder: instruct or a language}.
    """
    tables = []
    for record in records:
        try:
            table = pd.read_parquet(record["file"])
        except (OSError, ValueError) as error:
            raise UserError(
                f"{record['file']}: not an anatomy that merge.py wrote ({error}). Delete it and run again."
            ) from None
        table["model"] = table["model"].map(lambda model, names=record["models"]: names.get(model, model))
        tables.append(table.assign(**{key: record[key] for key in ("backbone", "method", "target", "weight")}))
    if not tables:
        raise UserError("there are no merges whose anatomy could be drawn.")
    return pd.concat(tables, ignore_index=True)


def grouped(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """norm (relative to the base's), cosine, conflicts and the norm relative to instruct's, of all tensors of a group taken together."""
    first = rows[rows["model"] == INSTRUCT].drop_duplicates(["backbone", "method", "target", "weight", "tensor"])
    keys = ["backbone", "method", "target", "weight", "tensor"]
    rows = rows.merge(first[[*keys, "norm"]].rename(columns={"norm": "first"}), on=keys)
    rows = rows.assign(
        square=rows["norm"] ** 2,
        base=rows["base_norm"] ** 2,
        product=(rows["cosine"] * rows["norm"] * rows["first"]).fillna(0),
        first=rows["first"] ** 2,
        differing=rows["conflicts"] * rows["size"],
    )
    sums = rows.groupby(by, dropna=True)[["square", "base", "product", "first", "differing", "size"]].sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        return pd.DataFrame(
            {
                "norm": np.sqrt(sums["square"] / sums["base"]),
                "cosine": sums["product"] / np.sqrt(sums["square"] * sums["first"]),
                "conflicts": 100 * sums["differing"] / sums["size"],
                "way": np.sqrt(sums["square"] / sums["first"]),
            }
        )


def anatomy_files(rows: pd.DataFrame, languages: list[str]) -> dict[str, bytes]:
    """The figure's content by file format; the same rows give the same bytes."""
    with paper_style():
        return rendered(draw(rows, languages), ["pdf", "png", "svg"], 200)


def draw(rows: pd.DataFrame, languages: list[str]) -> Figure:
    """Two rows of panels a backbone: by layer, and by module; at their end, how far each method goes, over w."""
    backbones = list(dict.fromkeys(rows["backbone"]))
    figure = Figure(figsize=(7.2, 4.3 * len(backbones) + 0.5), layout="constrained")
    panels = figure.subplots(2 * len(backbones), 4, squeeze=False)
    looks = {
        code: {"color": OKABE_ITO[i % len(OKABE_ITO)], "marker": MARKERS[i % len(MARKERS)]}
        for i, code in enumerate(languages)
    }
    methods = list(dict.fromkeys(rows["method"]))
    ways = {
        method: {"color": OKABE_ITO[::-1][i % len(OKABE_ITO)], "marker": MARKERS[i % len(MARKERS)]}
        for i, method in enumerate(methods)
    }
    for index, backbone in enumerate(backbones):
        here = rows[rows["backbone"] == backbone]
        # What the models are does not depend on how they are merged: one merge of each language alone tells it.
        single = here[here["target"].isin(languages) & (here["model"] != MERGED)].drop_duplicates(
            ["target", "tensor", "model"]
        )
        upper, lower = panels[2 * index], panels[2 * index + 1]
        by_layer, by_module = grouped(single, ["model", "layer"]), grouped(single, ["model", "module"])
        for measure, axes, below in zip(TITLES, upper, lower, strict=False):
            draw_layers(axes, by_layer[measure], measure, looks)
            draw_modules(below, by_module[measure], measure, looks)
            axes.set_title(TITLES[measure])
        merged = grouped(
            here[here["target"].isin(languages) & here["model"].isin([MERGED, INSTRUCT])], ["model", "method", "weight"]
        )
        draw_ways(upper[3], merged, "way", ways)
        draw_ways(lower[3], merged, "cosine", ways)
        upper[3].set_title("Way of the merge\n(norm / instruct's)")
        lower[3].set_title("Cosine of that way\nwith instruct's")
        upper[0].set_ylabel(f"{backbone}, by layer", fontweight="bold")
        lower[0].set_ylabel("by module", fontweight="bold", labelpad=2)
    handles = [
        Line2D([], [], **INSTRUCT_LOOK, label=INSTRUCT),
        *(Line2D([], [], **look, label=code.upper()) for code, look in looks.items()),
    ]
    handles += [Line2D([], [], **{"linestyle": ":", **look}, label=method) for method, look in ways.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 7), handlelength=2.2)
    return figure


def draw_layers(axes: Axes, values: pd.Series, measure: str, looks: dict[str, dict[str, str]]) -> None:
    for model, look in models_of(values, measure, looks):
        axes.plot(values[model].index, values[model], **look)
    axes.set_xlabel("layer", labelpad=1)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if measure != "cosine":
        axes.set_ylim(bottom=0)


def draw_modules(axes: Axes, values: pd.Series, measure: str, looks: dict[str, dict[str, str]]) -> None:
    names = list(dict.fromkeys(values.index.get_level_values("module")))
    for model, look in models_of(values, measure, looks):
        points = values[model].reindex(names)
        axes.plot(points, range(len(names)), **{**look, "linestyle": "none", "marker": look["marker"] or "x"})
    axes.set_yticks(
        range(len(names)), [short(name) for name in names] if measure == "norm" else [""] * len(names), fontsize=5.5
    )
    axes.invert_yaxis()
    if measure != "cosine":
        axes.set_xlim(left=0)


def models_of(values: pd.Series, measure: str, looks: dict[str, dict[str, str]]) -> list[tuple[str, dict[str, str]]]:
    """The models of a panel; the instruct model is compared with itself in none."""
    present = set(values.index.get_level_values("model"))
    lines = [(INSTRUCT, INSTRUCT_LOOK)] if measure == "norm" else []
    return [(model, look) for model, look in [*lines, *looks.items()] if model in present]


def draw_ways(axes: Axes, merged: pd.DataFrame, measure: str, ways: dict[str, dict[str, str]]) -> None:
    if MERGED not in merged.index.get_level_values("model"):
        return
    values = merged.loc[MERGED][measure]
    for method, look in ways.items():
        if method in values.index.get_level_values("method"):
            points = values[method].sort_index()
            axes.plot(points.index, points, linestyle=":", **look)
    axes.axhline(1, color="#999999", linewidth=0.6, zorder=1)
    weights = sorted(set(values.index.get_level_values("weight")))
    shown, last = [], -math.inf
    for weight in weights:
        shown.append(weight_text(weight) if weight - last >= 0.12 * (weights[-1] - weights[0]) else "")
        last = weight if shown[-1] else last
    axes.set_xticks(weights, shown)
    axes.set_xlabel("w", fontstyle="italic", labelpad=1)


def short(module: str) -> str:
    """A module's name for a narrow axis."""
    return (
        module.removeprefix("model.")
        .replace("self_attn.", "")
        .replace("mlp.", "")
        .replace("_layernorm", "_norm")
        .replace("_proj", "")
    )
