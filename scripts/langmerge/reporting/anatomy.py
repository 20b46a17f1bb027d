"""The layout anatomy: the task vectors of instruct and language models, where each merge lies, and
what the models' tokenizers make of a word.

A model's task vector is its difference from the base, theta_i - theta_base.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from langmerge.errors import UserError
from langmerge.measures import TRANSLATION
from langmerge.model import REFERENCES, SIDES
from langmerge.reporting.figure import OKABE_ITO, PAGE, figure_files, look, paper_style, stacked, weight_labels
from langmerge.reporting.inputs import Anatomy
from langmerge.reporting.scores import ALL, FERTILITY, MODEL
from langmerge.reporting.sources import Sources
from langmerge.reporting.specs import Spec, read_spec

INSTRUCT, BASE, ADAPTED = "instruct", "base", "adapted"
MERGED = "merged"
"""What `langmerge merge --anatomy` calls the result."""

INSTRUCT_LOOK = {"color": "#555555", "marker": "x", "linestyle": (0, (4, 1.5))}
BASE_LOOK = {"color": "black", "marker": "s", "linestyle": "none"}
TITLES = {
    "norm": "Size of the change\n(norm, base = 1)",
    "cosine": "Direction compared with\ninstruct (cosine)",
    "conflicts": "Weights changed against\ninstruct (%)",
}
MERGE_TITLES = {
    "distance": "Size of the merge's\nchange (instruct = 1)",
    "cosine": "Direction of the merge\n(cosine with instruct)",
}
CHANCE = 50
"""The percentage of weights whose signs differ in two random vectors."""

ROW, LOW_ROW, MODEL_ROW = 1.5, 1.2, 0.027
"""Heights in inches: of a row of panels at least, of the row that shows tokenizers, and of a model
in a panel by module.
"""

WEIGHT_AXIS, WEIGHT_FONT = 1.1, 6.5
"""Length of the axis of w in inches, and the size of its numbers."""

Looks = dict[str, dict[str, Any]]
"""What each line looks like, by language or by method; those that are drawn first are the widest."""


def make(sources: Sources, spec: dict[str, Any], name: str) -> dict[str, bytes]:
    settings = read_spec(Spec, spec)
    rows = read_anatomies(sources.anatomies)
    with paper_style():
        return figure_files(draw(rows, tokens_per_word(sources.scores), settings))


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


def tokens_per_word(scores: pd.DataFrame) -> pd.DataFrame:
    """What tokenizers make of the references of translations.

    Args:
        scores: as `read_scores` returns them.

    Returns:
        backbone, language, model (base, instruct, an adapted model's language, or a method of
            merges) and value, the mean over the tasks of a language. One row for each value: merges
            by one method may have several tokenizers.
    """
    sides = scores["method"].isin(SIDES) | ~scores["method"].isin(REFERENCES)
    known = scores[sides & scores["measure"].eq(TRANSLATION) & scores["part"].eq(ALL) & scores[FERTILITY].notna()]
    known = known.groupby([*MODEL, "language"], as_index=False, dropna=False)[FERTILITY].mean()
    model = known["target"].where(known["method"] == ADAPTED, known["method"])
    found = known.assign(model=model, value=known[FERTILITY].round(6))
    return found[["backbone", "language", "model", "value"]].drop_duplicates(ignore_index=True)


def draw(rows: pd.DataFrame, tokens: pd.DataFrame, spec: Spec) -> Figure:
    """Two rows of panels per backbone, by layer and by module; the last column shows the merges
    over w. A third row shows tokens per word, where they are known.

    Args:
        rows: of anatomies. tokens: of tokenizers, see `tokens_per_word`.
    """
    known = spec.labels.get("methods", {})
    backbones = list(dict.fromkeys(rows["backbone"]))
    methods = sorted(rows["method"].unique(), key=[*known, *rows["method"].unique()].index)  # as the run names them
    tokens = tokens[tokens["backbone"].isin(backbones)]
    known_tokens = set(tokens["backbone"])
    # By module, models are below each other: many need more room, as far as the page has it.
    room = PAGE / len(backbones) - ROW - 0.5 - (LOW_ROW if known_tokens else 0)
    by_module_row = max(ROW, min(room, MODEL_ROW * rows["module"].nunique() * (len(spec.languages) + 1)))
    heights = []
    for name in backbones:
        heights += [ROW, by_module_row, *([LOW_ROW] if name in known_tokens else [])]
    figure = Figure(figsize=(6.9, sum(heights) + 0.5), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    grid = figure.add_gridspec(len(heights), 4, height_ratios=heights)
    places = iter(range(len(heights)))
    looks, method_looks = looks_of(spec.languages, OKABE_ITO), looks_of(methods, OKABE_ITO[::-1])
    for own in method_looks.values():
        own["markerfacecolor"] = "white"  # where a colour is also a language's
    for backbone in backbones:
        own = rows[(rows["backbone"] == backbone) & rows["target"].isin(spec.languages)]
        upper, lower = ([figure.add_subplot(grid[row, column]) for column in range(4)] for row in islice(places, 2))
        # The source models do not depend on how they are merged: one merge of each shows them.
        sources = own[own["model"] != MERGED].drop_duplicates(["target", "tensor", "model"])
        by_layer, by_module = grouped(sources, ["model", "layer"]), grouped(sources, ["model", "module"])
        for quantity, above, below in zip(TITLES, upper, lower, strict=False):
            draw_layers(above, by_layer[quantity], quantity, looks)
            draw_modules(below, by_module[quantity], quantity, looks)
            above.set_title(TITLES[quantity], fontsize=7)
        merged = grouped(own[own["model"].isin([MERGED, INSTRUCT])], ["model", "method", "weight"])
        for axes, (quantity, title) in zip((upper[3], lower[3]), MERGE_TITLES.items(), strict=True):
            draw_merges(axes, merged, quantity, method_looks)
            axes.set_title(title, fontsize=7)
        upper[0].set_ylabel(f"{spec.label('backbones', backbone)}\nby layer", fontweight="bold")
        lower[0].set_ylabel("by module", fontweight="bold", labelpad=2)
        if backbone in known_tokens:
            every = {BASE: BASE_LOOK, INSTRUCT: INSTRUCT_LOOK, **looks, **method_looks}
            draw_tokens(figure.add_subplot(grid[next(places), :]), tokens[tokens["backbone"] == backbone], every, spec)
    entries = {BASE: {**BASE_LOOK, "label": "base model"}} if len(tokens) else {}
    entries |= {INSTRUCT: {**INSTRUCT_LOOK, "label": "instruct model"}}
    entries |= {code: {**own, "label": spec.label("languages", code)} for code, own in looks.items()}
    entries |= {name: {**own, "label": spec.label("methods", name)} for name, own in method_looks.items()}
    handles = [Line2D([], [], **{"linewidth": 1.2, **entry}) for entry in entries.values()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6), handlelength=2.6)
    return figure


def looks_of(names: list[str], palette: list[str]) -> Looks:
    """The looks of lines that may coincide. Languages and methods take their colours from the two
    ends of the palette.
    """
    widths = stacked(len(names))
    return {
        name: {**look(index, palette), "linewidth": width, "markersize": 1.7 + 1.3 * width}
        for index, (name, width) in enumerate(zip(names, widths, strict=True))
    }


def draw_layers(axes: Axes, values: pd.Series, quantity: str, looks: Looks) -> None:
    """One line per model over the layers; `values` by (model, layer)."""
    lines = lines_of(values, quantity, looks)
    for index, (model, own) in enumerate(lines):
        layers = values[model].index
        # Not the same layers for all: markers would cover each other.
        every = max(len(layers) // 6, 1)
        axes.plot(layers, values[model], **own, markevery=(index * every // max(len(lines), 1), every))
    if lines and quantity == "conflicts":
        axes.axhline(CHANCE, color="#999999", linewidth=0.6, zorder=1)
    axes.set_xlabel("layer", labelpad=1)
    axes.xaxis.get_major_locator().set_params(integer=True)


def draw_modules(axes: Axes, values: pd.Series, quantity: str, looks: Looks) -> None:
    """One row per module, with the models below each other in it; `values` by (model, module)."""
    names = list(dict.fromkeys(values.index.get_level_values("module")))
    lines = lines_of(values, quantity, looks)
    for row in range(1, len(names), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#F4F4F4", linewidth=0, zorder=0)
    for index, (model, own) in enumerate(lines):
        places = np.arange(len(names)) + 0.7 * ((index + 0.5) / len(lines) - 0.5)
        axes.plot(values[model].reindex(names), places, **{**own, "linestyle": "none", "markersize": 2.4})
    labels = [short(name) if quantity == "norm" else "" for name in names]
    axes.set_yticks(range(len(names)), labels, fontsize=5.5)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def lines_of(values: pd.Series, quantity: str, looks: Looks) -> list[tuple[str, dict[str, Any]]]:
    """The models of a panel with their looks; only norms show the instruct model, the others
    compare with it.
    """
    present = set(values.index.get_level_values("model"))
    lines = [*looks.items(), *([(INSTRUCT, INSTRUCT_LOOK)] if quantity == "norm" else [])]
    return [(model, own) for model, own in lines if model in present]


def draw_merges(axes: Axes, merged: pd.DataFrame, quantity: str, looks: Looks) -> None:
    """One line per method over w; `merged` by (model, method, weight)."""
    if MERGED not in merged.index.get_level_values("model"):
        return
    values = merged.loc[MERGED][quantity]
    for method, own in looks.items():
        if method in values.index.get_level_values("method"):
            points = values[method].sort_index()
            axes.plot(points.index, points, **own)
    axes.axhline(1, color="#999999", linewidth=0.6, zorder=1)
    weights = sorted(set(values.index.get_level_values("weight")))
    axes.set_xticks(weights, weight_labels(weights, WEIGHT_AXIS, WEIGHT_FONT), fontsize=WEIGHT_FONT)
    axes.set_xlabel("w", fontstyle="italic", labelpad=1)


def draw_tokens(axes: Axes, tokens: pd.DataFrame, looks: Looks, spec: Spec) -> None:
    """One group of points per language, with the models beside each other in it."""
    codes = [
        code for code in dict.fromkeys([*spec.languages, *tokens["language"]]) if (tokens["language"] == code).any()
    ]
    models = [name for name in looks if name in set(tokens["model"])]
    for place in range(1, len(codes), 2):
        axes.axvspan(place - 0.5, place + 0.5, color="#F4F4F4", linewidth=0, zorder=0)
    for index, model in enumerate(models):
        own = tokens[tokens["model"] == model]
        places = own["language"].map(codes.index) + 0.8 * ((index + 0.5) / len(models) - 0.5)
        axes.plot(places, own["value"], **{**looks[model], "linestyle": "none", "markersize": 3.5})
    axes.set_xticks(range(len(codes)), [spec.label("languages", code) for code in codes])
    axes.set_xlim(-0.5, len(codes) - 0.5)
    axes.margins(y=0.15)
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("tokens per word", labelpad=2)


def short(module: str) -> str:
    """A module's name for a narrow axis."""
    for part, replacement in {"self_attn.": "", "mlp.": "", "_layernorm": "_norm", "_proj": ""}.items():
        module = module.replace(part, replacement)
    return module.removeprefix("model.")
