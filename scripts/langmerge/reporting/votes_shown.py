"""The table and the figure of blind votes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from langmerge.model import Model
from langmerge.reporting.figure import OKABE_ITO, figure_files, paper_style
from langmerge.reporting.printing import latex_escape, latex_table, markdown_escape, markdown_table
from langmerge.reporting.scores import ALL
from langmerge.reporting.votes import RESAMPLES, Rate

COUNTS = {"won": "Better", "lost": "Worse", "both_good": "Both good", "both_bad": "Both bad"}
NOTE = (
    "Blind votes of native speakers. Win rate: the chance that an answer is preferred to that of another model of the"
    " page, the mean over the others (Bradley-Terry model; a tie is half a win for each)."
    f" Intervals: 95%, normal in log odds, by the standard error of {RESAMPLES} resamples of the prompts."
)
Labels = Mapping[str, Mapping[str, str]]


def model_label(rate: Rate, names: Mapping[str, str], labels: Labels) -> str:
    """What a model is called: "Linear, Basque, w = 0.5"."""
    model = Model.parse(rate.cell)
    several = len(labels["backbones"]) > 1
    parts = [labels["backbones"].get(model.backbone, model.backbone)] if several else []
    parts.append(labels["methods"].get(model.method, model.method.capitalize()))
    languages = [names.get(code, code) for code in model.target]
    parts += [" + ".join(languages) if len(languages) < 3 else f"{len(languages)} languages"] if languages else []
    return ", ".join([*parts, *([f"w = {model.weight:g}"] if model.is_merge else [])])


def table(rates: Sequence[Rate], names: Mapping[str, str], labels: Labels) -> dict[str, str]:
    """The table as CSV, Markdown and LaTeX."""
    data = pd.DataFrame(
        [
            {
                "language": rate.language,
                **Model.parse(rate.cell).columns(),
                "win_rate": rate.rate,
                **dict(zip(("low", "high"), rate.interval, strict=True)),
                **{count: rate.counts.get(count, 0) for count in COUNTS},
                "voters": rate.voters,
                "prompts": rate.parts[ALL].n,
            }
            for rate in rates
        ]
    )
    columns = ["Win rate (%)", "95% interval", *COUNTS.values()]
    blocks = {
        language: [
            [model_label(rate, names, labels), f"{rate.rate:.1f}", "{:.1f} to {:.1f}".format(*rate.interval)]
            + [str(rate.counts.get(count, 0)) for count in COUNTS]
            for rate in rates
            if rate.language == language
        ]
        for language in dict.fromkeys(rate.language for rate in rates)
    }
    parts = [f"# Blind votes\n\n{NOTE}"]
    for language, rows in blocks.items():
        first = next(rate for rate in rates if rate.language == language)
        lines = [[markdown_escape(cell) for cell in row] for row in rows]
        parts.append(f"## {names.get(language, language)}\n\nVoters: {first.voters}. Prompts: {first.parts[ALL].n}.")
        parts.append(markdown_table(["Model", *columns], lines, numbers=len(columns)))
    latex = latex_table(
        ["Language", "Model"],
        [("Blind votes", column) for column in columns],
        [
            [
                [latex_escape(names.get(code, code) if i == 0 else ""), *map(latex_escape, row)]
                for i, row in enumerate(rows)
            ]
            for code, rows in blocks.items()
        ],
        NOTE,
        "tab:votes",
    )
    return {"csv": data.to_csv(index=False, float_format="%.4f"), "md": "\n\n".join(parts) + "\n", "tex": latex}


def figure(rates: Sequence[Rate], names: Mapping[str, str], labels: Labels) -> dict[str, bytes]:
    """A forest plot: one panel per language, one row per model, the best on top."""
    languages = list(dict.fromkeys(rate.language for rate in rates))
    rows = [[rate for rate in rates if rate.language == language] for language in languages]
    with paper_style():
        drawing = Figure(figsize=(6.3, 0.5 + sum(0.45 + 0.22 * len(own) for own in rows)), layout="constrained")
        panels = drawing.subplots(
            len(rows), 1, squeeze=False, sharex=True, height_ratios=[len(own) + 1 for own in rows]
        )[:, 0]
        for panel, language, own in zip(panels, languages, rows, strict=True):
            for place, rate in enumerate(reversed(own)):
                low, high = rate.interval
                bars = [[rate.rate - low], [high - rate.rate]]
                panel.errorbar(rate.rate, place, xerr=bars, fmt="o", color=OKABE_ITO[0], capsize=2, elinewidth=1)
            panel.axvline(50, color="#767676", linewidth=0.8, linestyle=":")
            panel.set_yticks(range(len(own)), [model_label(rate, names, labels) for rate in reversed(own)])
            panel.set_ylim(-0.6, len(own) - 0.4)
            panel.set_title(names.get(language, language), loc="left")
        panels[-1].set_xlabel("Win rate in blind votes (%)")
        return figure_files(drawing)
