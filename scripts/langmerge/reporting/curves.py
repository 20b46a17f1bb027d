"""The curves of trainings: loss, bits per byte of held-out text, and speed, from history.jsonl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from langmerge.errors import UserError
from langmerge.reporting.figure import figure_files, look, paper_style
from langmerge.reporting.sources import Sources

LEG = {"color": "#AAAAAA", "linewidth": 0.6, "linestyle": ":"}
"""The line where a training has started again."""

POINTS = 200
"""Of a curve: the mean of as many stretches, because single steps are noisy."""


def read_history(file: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The steps of a training, and its evaluations: columns step and one for each language.

    Raises:
        UserError: the file is missing, holds no step yet, or is no history.
    """
    try:
        lines: list[dict[str, Any]] = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        steps = pd.DataFrame([line for line in lines if "loss" in line])
        held_out = pd.DataFrame(
            [{"step": line["step"], **line["bits_per_byte"]} for line in lines if "bits_per_byte" in line]
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{file}: not the history of a training: {error}. Give the folder of a trained model."
        ) from error
    if steps.empty:
        raise UserError(f"{file}: the training has made no step yet.")
    return steps, held_out


def draw(histories: dict[str, tuple[pd.DataFrame, pd.DataFrame]]) -> Figure:
    """A row of panels for each training. A language looks the same in all of them."""
    languages = dict.fromkeys(name for _, held_out in histories.values() for name in held_out if name != "step")
    looks = {language: look(index) for index, language in enumerate(languages)}
    titles = ["loss (nats per token)", *(["held-out bits per byte"] if looks else []), "tokens/s per process"]
    figure = Figure(figsize=(2.4 * len(titles), 1.8 * len(histories) + 0.3), layout="constrained")
    panels = figure.subplots(len(histories), len(titles), squeeze=False)
    for row, (name, (steps, held_out)) in zip(panels, histories.items(), strict=True):
        smooth = steps.groupby(steps.index * POINTS // max(len(steps), POINTS)).mean()
        curve(row[0], smooth, "loss")
        curve(row[-1], smooth, "tokens_per_second")
        row[-1].set_ylim(bottom=0)
        if looks:
            bits(row[1], held_out, looks)
        for panel, title in zip(row, titles, strict=True):
            panel.set_title(title if panel in panels[0] else "")
            for start in steps[steps["leg"].diff() > 0]["step"]:
                panel.axvline(start, **LEG)
        row[0].set_ylabel(name)
    for panel in panels[-1]:
        panel.set_xlabel("step")
    handles = [Line2D([], [], label=language, **own) for language, own in looks.items()]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 8), handlelength=2.6)
    return figure


def curve(panel: Axes, steps: pd.DataFrame, column: str) -> None:
    panel.plot(steps["step"], steps[column], color=look(0)["color"])


def bits(panel: Axes, held_out: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    """A line for each language of the held-out text."""
    for language in (column for column in held_out if column != "step"):
        panel.plot(held_out["step"], held_out[language], **looks[language])


def make(sources: Sources, _spec: dict[str, Any], _name: str) -> dict[str, str | bytes]:
    """The figure of a run's trainings."""
    return make_of(sources.histories)


def make_of(files: dict[str, Path]) -> dict[str, str | bytes]:
    """The figure's content by file format.

    Args:
        files: history.jsonl of each training, by the name that is shown.
    """
    histories = {name: read_history(file) for name, file in files.items()}
    with paper_style():
        return figure_files(draw(histories))
