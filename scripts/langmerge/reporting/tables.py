"""The paper's tables 2 to 8, in four layouts, and the choice of w without the test set, as CSV, Markdown and LaTeX.

A layout turns a `TableSpec` and a `Summary` of the scores into a `Table`: blocks of rows of scores. Within a block the best
score of each column is bold and the second best underlined, as printed: equal scores share their mark.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from langmerge.errors import UserError
from langmerge.reporting.scores import (
    ALL,
    CRITERION,
    DEV,
    TEST,
    Model,
    Score,
    Summary,
    chosen,
    combined,
    language_score,
    read_spec,
)

MEASURES = {"benchmark": "Benchmarks", "mt": "MT", "ifeval": "IFEval"}
SELECTION = ("mt", "benchmark")
"""What decides which merge a row shows where several could stand: see `best_model`."""

MISSING = "—"
BEST = "best"


@dataclass(frozen=True)
class TableSpec:
    """What a table shows.

    `weights` holds the w of merges of one language (`each`) and of all (`multi`), numbers or the word `best`; it may be one such
    mapping, a mapping of methods to such mappings, or `best` alone. A kind that a method does not have is left out. `criterion` are the
    measures whose mean the layout `best` chooses w by.
    """

    languages: list[str]
    backbones: list[str]
    title: str = ""
    caption: str = ""
    evaluation_languages: list[str] = field(default_factory=list)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    methods: list[str] = field(default_factory=list)
    weights: Any = field(default_factory=dict)
    baselines: list[str] = field(default_factory=list)
    criterion: list[str] = field(default_factory=lambda: CRITERION)

    def label(self, kind: str, name: str) -> str:
        """Return how a backbone or a method (`kind`: backbones, methods) is called in print."""
        return self.labels.get(kind, {}).get(name, name)

    def weight(self, method: str, kind: str) -> float | str | None:
        """Return the w of a method's merges of the kind `each` or `multi`: a number, "best", or None where the spec gives none.

        Raises:
            UserError: neither kind has a weight, or a weight is neither a number nor "best".
        """
        weights = self.weights.get(method, self.weights) if isinstance(self.weights, dict) else self.weights
        if weights == BEST:
            return BEST
        if not isinstance(weights, dict) or not weights.keys() & {"each", "multi"}:
            raise UserError(
                f"weights: found {weights!r} for the method {method}, expected {{each: 1.0, multi: 0.25}} or the word best."
            )
        weight = weights.get(kind)
        if not (weight is None or weight == BEST or isinstance(weight, int | float)):
            raise UserError(
                f"weights: {kind} is {weight!r} for the method {method}, expected a number or the word best."
            )
        return weight

    @property
    def picks(self) -> bool:
        """Whether a row's merge is picked among several weights by its score."""
        return any(self.weight(method, kind) == BEST for method in self.methods for kind in ("each", "multi"))


@dataclass(frozen=True)
class Row:
    """One printed row: the words that open it and its scores."""

    names: list[str]
    scores: list[Score]


@dataclass(frozen=True)
class Block:
    """Rows between two rules; the scores of a `ranked` block compete for bold and underline."""

    rows: list[Row]
    ranked: bool = True

    def marks(self) -> list[list[int]]:
        """Return for every row and column 1 for the best printed score, 2 for the second best, else 0 (also without a rival)."""
        printed = pd.DataFrame([[float(f"{score.mean:.2f}") for score in row.scores] for row in self.rows])
        ranks = printed.rank(method="dense", ascending=False)
        return ranks.where((ranks <= 2) & (printed.count() > 1) & self.ranked, 0).astype(int).to_numpy().tolist()


@dataclass(frozen=True)
class Table:
    """A table to print, and `data`, the same numbers for machines. `columns` are (group, name) pairs; `notes` say how to read it."""

    names: list[str]
    columns: list[tuple[str, str]]
    blocks: list[Block]
    data: pd.DataFrame
    notes: list[str]


def best_model(candidates: list[Model], summary: Summary) -> Model | None:
    """Return the merge that a row shows: the highest BLEU into the merge's own target languages, the first of equals.

    The paper does not say how its Table 8 picks a method; this rule is inferred from its numbers. Among the merges published in Tables
    3, 7 and 8 it gives all 15 choices (benchmark accuracy in the target languages 9, the mean of both 11), but methods whose rows are
    not published, such as nearswap where it was not chosen, could not be checked. Where no candidate has a
    translation score, benchmark accuracy decides; without either there is no choice (None), unless there is one candidate.
    """
    if len(candidates) == 1:
        return candidates[0]
    for measure in SELECTION:
        if (best := chosen(candidates, summary, [measure])) is not None:
            return best
    return None


def merge(spec: TableSpec, summary: Summary, backbone: str, methods: list[str], target: str) -> Model | None:
    """Return the merge to show for a target language, or for all languages if `target` is "multi"."""
    kind, languages = ("multi", "+".join(sorted(spec.languages))) if target == "multi" else ("each", target)
    candidates = []
    for method in methods:
        weight = spec.weight(method, kind)
        weights = (
            summary.weights(backbone, method, [languages])
            if weight == BEST
            else []
            if weight is None
            else [float(weight)]
        )
        candidates += [Model(backbone, method, languages, weight) for weight in weights]
    return best_model(candidates, summary)


def targets(spec: TableSpec) -> list[str]:
    """Return what is merged in: each language, then all of them, if they are several and the spec gives a weight for that."""
    together = len(spec.languages) > 1 and any(spec.weight(method, "multi") is not None for method in spec.methods)
    return [*spec.languages, "multi"] if together else list(spec.languages)


def reference_models(spec: TableSpec, summary: Summary) -> list[Model]:
    """Return the models above the backbones' blocks, those that have scores: joint models, then baselines."""
    joint = [Model(backbone, "joint", language) for backbone in spec.backbones for language in spec.languages]
    return [
        model for model in [*joint, *(Model(name, "instruct") for name in spec.baselines)] if model in summary.models
    ]


class Entry(NamedTuple):
    """A row before its scores are looked up: what it is called and the model of each of its columns (None: there is no such merge)."""

    backbone: str
    variant: str
    language: str
    models: list[Model | None]

    @property
    def name(self) -> str:
        """What stands in the Model column: "Instruct", "Merge EU", "Merge multi"."""
        language = self.language if self.language in ("multi", "target") else self.language.upper()
        return f"{self.variant.capitalize()} {language}".rstrip()

    def data(self, column: int = 0) -> dict[str, str]:
        """Return the CSV columns that say which model the scores of this row, in this column, belong to."""
        model = self.models[column]
        merged = self.variant == "merge" and model is not None
        return {
            "backbone": self.backbone,
            "variant": self.variant,
            "language": self.language,
            "method": model.method if merged else "",
            "weight": f"{model.weight:g}" if merged else "",
        }


def numbers(names: list[str], scores: list[Score]) -> dict[str, float]:
    """Return the CSV columns of some scores: their means, and the bounds of their intervals, which `tidy` puts last."""
    means = {name: score.mean for name, score in zip(names, scores, strict=True)}
    lows = {f"{name}_low": score.low for name, score in zip(names, scores, strict=True)}
    return means | lows | {f"{name}_high": score.high for name, score in zip(names, scores, strict=True)}


def tidy(data: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the CSV file's rows, the intervals' bounds after all that the paper prints."""
    table = pd.DataFrame(data)
    bounds = [name for name in table if name.endswith(("_low", "_high"))]
    printed = [name for name in table if name not in bounds]
    return table[
        printed + [f"{name}_{side}" for name in printed for side in ("low", "high") if f"{name}_{side}" in bounds]
    ]


def adapted(spec: TableSpec, summary: Summary) -> Table:
    """Table 2: benchmark accuracy of each backbone's base and of its bases adapted to each language."""
    languages = [*spec.languages, *spec.evaluation_languages]
    blocks, data = [], []
    for backbone in spec.backbones:
        rows = []
        for variant, target in [("base", ""), *(("adapted", language) for language in spec.languages)]:
            entry = Entry(backbone, variant, target, [Model(backbone, variant, target)])
            scores = [summary.score(entry.models[0], language, "benchmark") for language in languages]
            rows.append(Row([spec.label("backbones", backbone), entry.name], scores))
            names = {"backbone": backbone, "variant": variant, "language": target}
            data.append(names | numbers(languages, scores))
        blocks.append(Block(rows))
    return Table(
        ["Backbone", "Model"], [(MEASURES["benchmark"], code.upper()) for code in languages], blocks, tidy(data), []
    )


def merges(spec: TableSpec, summary: Summary) -> Table:
    """Tables 3, 7 and 8: benchmarks and translation into each language, of each backbone's instruct model and of its merges.

    With several methods, or weights "best", each row shows the merge that `best_model` picks and names its method, or its w.
    """
    languages = [*spec.languages, *spec.evaluation_languages]
    cells = [(measure, language) for measure in ("benchmark", "mt") for language in languages]
    named = {"Method": len(spec.methods) > 1, "w": spec.picks}
    data = []

    def row(entry: Entry) -> Row:
        scores = [summary.score(entry.models[0], language, measure) for measure, language in cells]
        names = entry.data()
        values = numbers([f"{measure}_{language}" for measure, language in cells], scores)
        data.append(
            {key: names[key] for key in ("backbone", "variant", "language", "method")}
            | values
            | {"weight": names["weight"]}
        )
        printed = {"Method": spec.label("methods", names["method"]), "w": names["weight"]}
        return Row(
            [spec.label("backbones", entry.backbone), entry.name, *(printed[key] for key in named if named[key])],
            scores,
        )

    blocks = [
        Block(
            [
                row(Entry(model.backbone, model.method, model.target, [model]))
                for model in reference_models(spec, summary)
            ],
            ranked=False,
        )
    ]
    for backbone in spec.backbones:
        entries = [Entry(backbone, "instruct", "", [Model(backbone, "instruct")])]
        entries += [
            Entry(backbone, "merge", target, [merge(spec, summary, backbone, spec.methods, target)])
            for target in targets(spec)
        ]
        blocks.append(Block([row(entry) for entry in entries]))

    columns = [(MEASURES[measure], ("*-" if measure == "mt" else "") + language.upper()) for measure, language in cells]
    return Table(
        ["Backbone", "Model", *(key for key in named if named[key])],
        columns,
        present(blocks),
        tidy(data),
        notes(spec, "row", len(spec.methods) > 1),
    )


def ifeval(spec: TableSpec, summary: Summary) -> Table:
    """Table 4: instruction following in each language, with its standard deviation over seeds.

    The row "Merge target" shows in each column the merge of that column's own language, the row "Merge multi" the merge of all languages.
    """
    data = []

    def row(entry: Entry) -> Row:
        scores = [
            summary.score(model, language, "ifeval")
            for model, language in zip(entry.models, spec.languages, strict=True)
        ]
        for column, (language, score) in enumerate(zip(spec.languages, scores, strict=True)):
            names = entry.data(column)
            weight = names.pop("weight")
            shown = {"test_language": language, "mean": score.mean, "sd": score.sd, "n": score.n, "weight": weight}
            data.append(names | shown | {"low": score.low, "high": score.high})
        return Row([spec.label("backbones", entry.backbone), entry.name], scores)

    def same(model: Model | None) -> list[Model | None]:
        return [model] * len(spec.languages)

    blocks = [
        Block(
            [
                row(Entry(model.backbone, model.method, model.target, same(model)))
                for model in reference_models(spec, summary)
            ],
            ranked=False,
        )
    ]
    for backbone in spec.backbones:
        each = [merge(spec, summary, backbone, spec.methods, language) for language in spec.languages]
        entries = [
            Entry(backbone, "instruct", "", same(Model(backbone, "instruct"))),
            Entry(backbone, "merge", "target", each),
        ]
        if "multi" in targets(spec):
            entries.append(
                Entry(backbone, "merge", "multi", same(merge(spec, summary, backbone, spec.methods, "multi")))
            )
        blocks.append(Block([row(entry) for entry in entries]))

    table = pd.DataFrame(data).astype({"n": "Int64"})
    columns = [(MEASURES["ifeval"], language.upper()) for language in spec.languages]
    spread = "± is the sample standard deviation over seeds."
    return Table(
        ["Backbone", "Model"], columns, present(blocks), table, [spread, *notes(spec, "cell", len(spec.methods) > 1)]
    )


def methods(spec: TableSpec, summary: Summary) -> Table:
    """Tables 5 and 6: one backbone's methods, each language's own merge evaluated in its own language, and the average.

    Raises:
        UserError: there is not exactly one backbone.
    """
    if len(spec.backbones) != 1:
        raise UserError(f"backbones: the layout methods shows one, found {spec.backbones}. Make a table a backbone.")
    [backbone] = spec.backbones
    blocks, data = [], []
    for measure, title in MEASURES.items():
        rows = []
        for method in spec.methods:
            own = [(language, merge(spec, summary, backbone, [method], language)) for language in spec.languages]
            scores = [summary.score(model, language, measure)._replace(sd=math.nan) for language, model in own]
            scores.append(combined(scores))
            rows.append(Row([title, spec.label("methods", method)], scores))
            data.append(
                {"backbone": backbone, "measure": measure, "method": method} | numbers([*spec.languages, "avg"], scores)
            )
        blocks.append(Block(rows))
    columns = [
        (spec.label("backbones", backbone), name)
        for name in [*(language.upper() for language in spec.languages), "Avg"]
    ]
    return Table(["Measure", "Method"], columns, blocks, tidy(data), notes(spec, "cell"))


def best(spec: TableSpec, summary: Summary) -> Table:
    """The best w of each method and target, chosen on the development half of the documents and reported on the rest, beside the best on all."""
    chooser = {TEST: summary.on(DEV), ALL: summary}
    reporter = {TEST: summary.on(TEST), ALL: summary}
    blocks, data = [], []

    def row(backbone: str, target: list[str], method: str, models: dict[str, Model | None]) -> Row:
        """The scores of the model of each part, in the target languages."""
        name = "all" if len(target) > 1 else target[0]
        scores = {
            f"{measure}_{part}": language_score(models[part], reporter[part], [measure], target)
            for part in reporter
            for measure in MEASURES
        }
        weights = [
            "" if method == "instruct" else f"{models[part].weight:g}" if models[part] else MISSING for part in reporter
        ]
        names = {"backbone": backbone, "language": name, "method": method, "w_dev": weights[0], "w_all": weights[1]}
        data.append(names | numbers(list(scores), list(scores.values())))
        words = [
            spec.label("backbones", backbone),
            name if name == "all" else name.upper(),
            spec.label("methods", method),
        ]
        return Row([*words, *weights], list(scores.values()))

    for backbone in spec.backbones:
        instruct = dict.fromkeys(reporter, Model(backbone, "instruct"))
        for target in [[language] for language in spec.languages] + [sorted(spec.languages)] * (
            len(spec.languages) > 1
        ):
            name = "+".join(target)
            merged = {
                method: [Model(backbone, method, name, w) for w in summary.weights(backbone, method, [name])]
                for method in spec.methods
            }
            several = {
                method: models for method, models in merged.items() if len(models) > 1
            }  # one weight is no choice
            picks = {
                method: {part: chosen(models, chooser[part], spec.criterion) for part in chooser}
                for method, models in several.items()
            }
            if picks:
                blocks.append(
                    Block(
                        [
                            row(backbone, target, method, models)
                            for method, models in {"instruct": instruct, **picks}.items()
                        ]
                    )
                )
    columns = [(title, MEASURES[measure]) for title in ("Test", "All") for measure in MEASURES]
    rule = ", ".join(MEASURES[measure] for measure in spec.criterion)
    sentences = [
        "Test: w is chosen on the development half of the documents (w dev), scores are those of the other half.",
        "All: chosen and reported on all documents (w all), as the papers do, which flatters.",
        f"Chosen is the w with the highest mean of {rule} in the merge's target languages.",
    ]
    return Table(["Backbone", "Target", "Model", "w dev", "w all"], columns, blocks, tidy(data), sentences)


class Layout(NamedTuple):
    """A layout's function, and the reference models and measures that its table can show."""

    build: Callable[[TableSpec, Summary], Table]
    references: tuple[str, ...]
    measures: list[str]


LAYOUTS = {
    "adapted": Layout(adapted, ("base", "adapted"), ["benchmark"]),
    "merges": Layout(merges, ("instruct", "joint"), ["benchmark", "mt"]),
    "ifeval": Layout(ifeval, ("instruct", "joint"), ["ifeval"]),
    "methods": Layout(methods, (), [*MEASURES]),
    "best": Layout(best, ("instruct",), [*MEASURES]),
}


def tabulate(scores: pd.DataFrame, layout: str, spec: dict[str, Any]) -> tuple[Table, str]:
    """Return the table of a layout and its caption: the spec's title and caption, then how to read the table.

    Raises:
        UserError: an unknown key in the spec, or a value that the layout cannot show.
    """
    settings: TableSpec = read_spec(TableSpec, spec)
    for key in ("languages", "backbones", *(["methods"] if layout != "adapted" else [])):
        names = getattr(settings, key)
        if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
            raise UserError(
                f"{key}: found {names!r}, expected a list of names with at least one. (Quote the words no, on and yes in YAML.)"
            )
    build, references, measures = LAYOUTS[layout]
    shown = scores["backbone"].isin([*settings.backbones, *settings.baselines]) & scores["method"].isin(
        [*references, *settings.methods]
    )
    summary = Summary(scores[shown])
    table = build(settings, summary)
    marks = f"Bold: best of its column and block; underlined: second best; {MISSING}: no score."
    return table, " ".join(
        filter(None, [settings.title, settings.caption, *table.notes, precision(summary, measures), marks])
    )


def precision(summary: Summary, measures: list[str]) -> str:
    """Return the sentence that says how far the 95% intervals of these measures reach, "" where none is known."""
    widths = {MEASURES[measure]: summary.half_width(measure) for measure in measures}
    known = ", ".join(f"±{width:.1f} ({title})" for title, width in widths.items() if not math.isnan(width))
    return f"The median score's 95% interval is {known}; the CSV file has each." if known else ""


def present(blocks: list[Block]) -> list[Block]:
    """Return the blocks that have rows."""
    return [block for block in blocks if block.rows]


def notes(spec: TableSpec, place: str, method_chosen: bool = False) -> list[str]:
    """Return the sentences that say which merge a row or a cell (`place`) shows: its w, or how it was picked."""
    sentences = []
    if choices := [word for word, chosen in (("method", method_chosen), ("w", spec.picks)) if chosen]:
        rule = "the highest BLEU into the merge's own target languages (without translation scores: benchmark accuracy)"
        sentences.append(f"Each {place} shows the {' and '.join(choices)} with {rule}.")
    fixed = {}
    for method in spec.methods:
        weights = {kind: spec.weight(method, kind) for kind in ("each", "multi")}
        words = [f"{w:g} ({kind})" for kind, w in weights.items() if w not in (None, BEST)]
        fixed.setdefault(", ".join(words), []).append(spec.label("methods", method))
    for words, names in fixed.items():
        if words:
            sentences.append(f"w = {words}" + (f" for {', '.join(names)}" if len(fixed) > 1 else "") + ".")
    return sentences


def cell_text(score: Score, mark: int, marks: dict[int, str], spread: str) -> str:
    """Return one printed cell; `marks` are the formats of bold and underline, `spread` that of the standard deviation."""
    if math.isnan(score.mean):
        return MISSING
    text = marks.get(mark, "{}").format(f"{score.mean:.2f}")
    return text if math.isnan(score.sd) else text + spread.format(f"{score.sd:.1f}")


def printed_rows(block: Block, marks: dict[int, str], spread: str, escape: Callable[[str], str]) -> list[list[str]]:
    """Return a block's rows as text; a first name that repeats the row above is left blank."""
    rows, above = [], None
    for row, row_marks in zip(block.rows, block.marks(), strict=True):
        first = "" if row.names[0] == above else row.names[0]
        above = row.names[0]
        cells = [cell_text(score, mark, marks, spread) for score, mark in zip(row.scores, row_marks, strict=True)]
        rows.append([*(escape(name) for name in [first, *row.names[1:]]), *cells])
    return rows


def to_markdown(table: Table, caption: str) -> str:
    """Return the table in GitHub's Markdown, its caption above it."""

    def escape(text: str) -> str:
        return re.sub(r"([\\`*_|<>])", r"\\\1", text)

    several = len({group for group, _ in table.columns}) > 1
    header = [*table.names, *(escape(f"{group} {name}" if several else name) for group, name in table.columns)]
    rows = [row for block in table.blocks for row in printed_rows(block, {1: "**{}**", 2: "<u>{}</u>"}, " ±{}", escape)]
    align = ["left"] * len(table.names) + ["right"] * len(table.columns)
    return f"{escape(caption)}\n\n{pd.DataFrame(rows, columns=header).to_markdown(index=False, disable_numparse=True, colalign=align)}\n"


LATEX_ESCAPES = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "±": r"$\pm$"}
)


def latex_escape(text: str) -> str:
    """Return text that LaTeX prints as it stands."""
    return text.translate(LATEX_ESCAPES)


def to_latex(table: Table, caption: str, label: str) -> str:
    """Return a two-column-wide LaTeX table with booktabs rules, its groups of columns under a common heading."""
    first, groups, rules = len(table.names) + 1, [], []
    for group, members in itertools.groupby(table.columns, key=lambda column: column[0]):
        last = first + len(list(members)) - 1
        groups.append(rf"\multicolumn{{{last - first + 1}}}{{c}}{{{latex_escape(group)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{last}}}")
        first = last + 1

    def line(cells: list[str]) -> str:
        return " & ".join(cells) + r" \\"

    marks, spread = {1: r"\textbf{{{}}}", 2: r"\underline{{{}}}"}, r" {{\scriptsize$\pm${}}}"
    blocks = [
        "\n".join(line(row) for row in printed_rows(block, marks, spread, latex_escape)) for block in table.blocks
    ]
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table*}",
        r"\centering\small",
        rf"\begin{{tabular}}{{@{{}}{'l' * len(table.names)}{'r' * len(table.columns)}@{{}}}}",
        r"\toprule",
        line([*[""] * len(table.names), *groups]),
        " ".join(rules),
        line([*table.names, *(latex_escape(name) for _, name in table.columns)]),
        r"\midrule",
        "\n\\midrule\n".join(blocks),
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{latex_escape(caption)}}}",
        rf"\label{{{label}}}",
        r"\end{table*}",
        "",
    ]
    return "\n".join(lines).replace(MISSING, "---")
