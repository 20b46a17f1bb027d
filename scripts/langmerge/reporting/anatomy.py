"""The layout anatomy: the task vectors of instruct and language models, and where each merge lies.

A model's task vector is its difference from the base, theta_i - theta_base.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from langmerge.errors import UserError
from langmerge.reporting.figure import OKABE_ITO, figure_files, look, paper_style, weight_labels
from langmerge.reporting.inputs import Anatomy
from langmerge.reporting.scores import MODEL
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import Spec, read_spec

INSTRUCT = "instruct"
MERGED = "merged"
"""What `langmerge merge --anatomy` calls the result."""

INSTRUCT_LOOK = {"color": "#555555", "marker": "", "linestyle": "--"}
TITLES = {
    "norm": "Norm of the task vectors\n(relative to the base)",
    "cosine": "Cosine with the\ninstruct task vector",
    "conflicts": "Sign conflicts with the\ninstruct task vector (%)",
}
MERGE_TITLES = {
    "distance": "Distance of the merge\nfrom the base\n(relative to instruct)",
    "cosine": "Cosine of the merge\nwith the instruct\ntask vector",
}
WEIGHT_AXIS, WEIGHT_FONT = 1.25, 6.5
"""Length of the axis of w in inches, and the size of its numbers."""

Looks = dict[str, dict[str, str]]
"""Colour and marker of each line, by language or by method."""


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, bytes]:
    settings = read_spec(Spec, spec)
    rows = read_anatomies(sources.anatomies)
    with paper_style():
        return figure_files(draw(rows, settings))


def read_anatomies(anatomies: list[Anatomy]) -> pd.DataFrame:
    """The rows of all merges' anatomies, each with the columns of its merge, and `model` as its
    role.

    Columns as `langmerge merge --anatomy` writes them: per tensor and model, norm and base_norm,
    cosine with the instruct model's task vector, conflicts (a share), size (weights), layer,
    module.

    Raises:
        UserError: there are none, or a file is not such a file.
    """
    tables = []
    for anatomy in anatomies:
        try:
            table = pd.read_parquet(anatomy.path)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{anatomy.path} is not an anatomy of `langmerge merge` ({error}). Delete it and run again."
            ) from None
        roles = {folder: anatomy.roles.get(folder, folder) for folder in table["model"].unique()}
        tables.append(table.assign(model=table["model"].map(roles), **anatomy.model.columns()))
    if not tables:
        raise UserError("no merge of the run has an anatomy to draw: run the merges first.")
    return pd.concat(tables, ignore_index=True)


def grouped(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """norm, cosine, conflicts and distance of each group's tensors, taken together as one vector.

    Args:
        rows: as `read_anatomies` returns them. by: columns to group by.

    Returns:
        One row per group: norm (relative to the base's norm), cosine (with the instruct task
            vector),
        conflicts (%), distance (norm relative to the instruct task vector's).
    """
    keys = [*MODEL, "tensor"]
    instruct = rows[rows["model"] == INSTRUCT].drop_duplicates(keys)
    rows = rows.merge(instruct[[*keys, "norm"]].rename(columns={"norm": "instruct"}), on=keys)
    rows = rows.assign(
        square=rows["norm"] ** 2,
        base=rows["base_norm"] ** 2,
        product=(rows["cosine"] * rows["norm"] * rows["instruct"]).fillna(0),
        instruct=rows["instruct"] ** 2,
        differing=rows["conflicts"] * rows["size"],
    )
    sums = rows.groupby(by, dropna=True)[["square", "base", "product", "instruct", "differing", "size"]].sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        return pd.DataFrame(
            {
                "norm": np.sqrt(sums["square"] / sums["base"]),
                "cosine": sums["product"] / np.sqrt(sums["square"] * sums["instruct"]),
                "conflicts": 100 * sums["differing"] / sums["size"],
                "distance": np.sqrt(sums["square"] / sums["instruct"]),
            }
        )


def draw(rows: pd.DataFrame, spec: Spec) -> Figure:
    """Two rows of panels per backbone, by layer and by module; the last column shows the merges
    over w.
    """
    backbones, methods = list(dict.fromkeys(rows["backbone"])), list(dict.fromkeys(rows["method"]))
    figure = Figure(figsize=(7.2, 4.3 * len(backbones) + 0.5), layout="constrained")
    panels = figure.subplots(2 * len(backbones), 4, squeeze=False)
    looks = {code: look(index) for index, code in enumerate(spec.languages)}
    # From the end of the palette, where the languages' colours are not.
    method_looks = {
        method: {**look(index), "color": OKABE_ITO[::-1][index % len(OKABE_ITO)]}
        for index, method in enumerate(methods)
    }
    for index, backbone in enumerate(backbones):
        own = rows[(rows["backbone"] == backbone) & rows["target"].isin(spec.languages)]
        upper, lower = panels[2 * index], panels[2 * index + 1]
        # The source models do not depend on how they are merged: one merge of each shows them.
        sources = own[own["model"] != MERGED].drop_duplicates(["target", "tensor", "model"])
        by_layer, by_module = grouped(sources, ["model", "layer"]), grouped(sources, ["model", "module"])
        for quantity, above, below in zip(TITLES, upper, lower, strict=False):
            draw_layers(above, by_layer[quantity], quantity, looks)
            draw_modules(below, by_module[quantity], quantity, looks)
            above.set_title(TITLES[quantity])
        merged = grouped(own[own["model"].isin([MERGED, INSTRUCT])], ["model", "method", "weight"])
        for axes, (quantity, title) in zip((upper[3], lower[3]), MERGE_TITLES.items(), strict=True):
            draw_merges(axes, merged, quantity, method_looks)
            axes.set_title(title)
        upper[0].set_ylabel(f"{spec.label('backbones', backbone)}, by layer", fontweight="bold")
        lower[0].set_ylabel("by module", fontweight="bold", labelpad=2)
    handles = [Line2D([], [], **INSTRUCT_LOOK, label=INSTRUCT)]
    handles += [Line2D([], [], **own, label=code.upper()) for code, own in looks.items()]
    handles += [
        Line2D([], [], linestyle=":", **own, label=spec.label("methods", method))
        for method, own in method_looks.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 7), handlelength=2.2)
    return figure


def draw_layers(axes: Axes, values: pd.Series, quantity: str, looks: Looks) -> None:
    """One line per model over the layers; `values` by (model, layer)."""
    for model, own in lines_of(values, quantity, looks):
        axes.plot(values[model].index, values[model], **own)
    axes.set_xlabel("layer", labelpad=1)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if quantity != "cosine":
        axes.set_ylim(bottom=0)


def draw_modules(axes: Axes, values: pd.Series, quantity: str, looks: Looks) -> None:
    """One row of points per module; `values` by (model, module)."""
    names = list(dict.fromkeys(values.index.get_level_values("module")))
    for model, own in lines_of(values, quantity, looks):
        points = values[model].reindex(names)
        axes.plot(points, range(len(names)), **{**own, "linestyle": "none", "marker": own["marker"] or "x"})
    labels = [short(name) if quantity == "norm" else "" for name in names]
    axes.set_yticks(range(len(names)), labels, fontsize=5.5)
    axes.invert_yaxis()
    if quantity != "cosine":
        axes.set_xlim(left=0)


def lines_of(values: pd.Series, quantity: str, looks: Looks) -> list[tuple[str, dict[str, str]]]:
    """The models of a panel with their looks; only norms show the instruct model, the others
    compare with it.
    """
    present = set(values.index.get_level_values("model"))
    lines = [(INSTRUCT, INSTRUCT_LOOK)] if quantity == "norm" else []
    return [(model, own) for model, own in [*lines, *looks.items()] if model in present]


def draw_merges(axes: Axes, merged: pd.DataFrame, quantity: str, looks: Looks) -> None:
    """One line per method over w; `merged` by (model, method, weight)."""
    if MERGED not in merged.index.get_level_values("model"):
        return
    values = merged.loc[MERGED][quantity]
    for method, own in looks.items():
        if method in values.index.get_level_values("method"):
            points = values[method].sort_index()
            axes.plot(points.index, points, linestyle=":", **own)
    axes.axhline(1, color="#999999", linewidth=0.6, zorder=1)
    weights = sorted(set(values.index.get_level_values("weight")))
    axes.set_xticks(weights, weight_labels(weights, WEIGHT_AXIS, WEIGHT_FONT), fontsize=WEIGHT_FONT)
    axes.set_xlabel("w", fontstyle="italic", labelpad=1)


def short(module: str) -> str:
    """A module's name for a narrow axis."""
    for part, replacement in {"self_attn.": "", "mlp.": "", "_layernorm": "_norm", "_proj": ""}.items():
        module = module.replace(part, replacement)
    return module.removeprefix("model.")
