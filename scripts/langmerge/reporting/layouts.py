"""The layouts of tables and figures: what each reads, writes and can be told.

The schema of a run, the grid, the rules and `langmerge report` read this registry. To add a layout,
add an entry here and a module of the same name beside this file with

    make(sources: Sources, spec: dict, name: str) -> dict[str, str | bytes]

which returns the content of the report's files by their ending. `spec` holds the layout's options
and what the grid adds to them: labels, languages, and the run's backbones.

Light: every dry run imports this module, so it loads neither pandas nor matplotlib.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from langmerge.measures import VOTES
from langmerge.reporting.options import (
    ALIAS,
    CRITERION,
    KEEP,
    LOOK,
    MEASURE,
    NAME,
    NAMES,
    SHOWN_MEASURES,
    TITLE,
    WEIGHTS,
    Schema,
)

if TYPE_CHECKING:
    from langmerge.reporting.sources import Sources

TABLE_FORMATS = ("csv", "md", "tex")
FIGURE_FORMATS = ("pdf", "png", "svg")

TABLE_OPTIONS = {"title": TITLE, "alias": ALIAS, "backbones": NAMES}
MERGES_OPTIONS = {**TABLE_OPTIONS, "methods": NAMES, "weights": WEIGHTS}
FIGURE_OPTIONS = {"title": TITLE, "alias": ALIAS, "backbone": NAME, "methods": NAMES, "options": LOOK}

# ---- captions of the report that `snakemake --report` makes, in reStructuredText

MARKS = (
    "In the Markdown and LaTeX files, the best score of each column and block is bold and the second best is"
    " underlined; † marks scores whose answers are suspicious. The CSV file has the bounds of each score's 95% interval."
)


@dataclass(frozen=True)
class Layout:
    """One layout of a table or a figure.

    Attributes:
        name: as a run's configuration writes it; also the name of its module.
        kind: `table`, `figure` or `page`; the report's files are in the folder tables or figures,
            those of a page beside these folders.
        reads: what it is made from: scores.csv, every answer of the run, the anatomies of its
            merges, the counts of its corpora, the histories of its trainings, or the records of its
            searches.
        formats: endings of its files.
        description: one line for help texts.
        caption: reStructuredText for `snakemake --report`.
        options: JSON schema of each option that a configuration may give.
        required: options that it must give.
        needs: measures without whose scores there is nothing to show.
        answers_for: an option with which it reads every answer as well.
        made: which runs have it: those whose configuration names it, all, or all that have merges,
            a paper's published numbers, corpora, trainings with held-out text, or a search.
    """

    name: str
    kind: Literal["table", "figure", "page"]
    reads: Literal["scores", "answers", "anatomies", "corpora", "histories", "searches"]
    formats: tuple[str, ...]
    description: str
    caption: str
    options: Mapping[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    made: Literal["named", "all", "merges", "published", "corpora", "trainings", "search"] = "named"
    answers_for: str = ""

    def told(self, options: Mapping[str, Any]) -> Layout:
        """The layout as an entry of a configuration uses it."""
        return replace(self, reads="answers") if self.answers_for in options else self

    @property
    def shown(self) -> str:
        """Ending of the file that `snakemake --report` shows."""
        return next(form for form in ("svg", "html", "csv") if form in self.formats)

    def make(self, sources: Sources, spec: dict[str, Any], name: str) -> dict[str, str | bytes]:
        """The content of a report's files, by their ending.

        Raises:
            UserError: the spec has an unknown key or lacks one, or a value cannot be shown.
        """
        return import_module(f"langmerge.reporting.{self.name}").make(sources, spec, name)

    def schema(self) -> Schema:
        """JSON schema of an entry under a configuration's `tables` or `figures`."""
        return {
            "type": "object",
            "additionalProperties": False,
            "required": [*self.required],
            "properties": {"layout": {"const": self.name}, **self.options},
        }


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "adapted",
            "table",
            "scores",
            TABLE_FORMATS,
            "benchmark accuracy of each base model and of its adaptations to each language",
            "Benchmark accuracy of the base models and of those adapted to each language. " + MARKS,
            TABLE_OPTIONS,
        ),
        Layout(
            "merges",
            "table",
            "scores",
            TABLE_FORMATS,
            "each instruct model and its merges in every language, by all measures but IFEval and chrF++, or by those named",
            "Scores in every language, of the instruct models and of their merges, beside the base and adapted models. "
            + MARKS,
            {**MERGES_OPTIONS, "baselines": NAMES, "measures": SHOWN_MEASURES},
            required=("methods", "weights"),
        ),
        Layout(
            "ifeval",
            "table",
            "scores",
            TABLE_FORMATS,
            "instruction following in every language, with its standard deviation over seeds",
            "Instruction following, strict, with the standard deviation over seeds. " + MARKS,
            {**MERGES_OPTIONS, "baselines": NAMES},
            required=("methods", "weights"),
            needs=("ifeval",),
        ),
        Layout(
            "methods",
            "table",
            "scores",
            TABLE_FORMATS,
            "the merge methods, each language's own merge tested in its own language",
            "The merge methods compared: each language's own merge, tested in its own language. " + MARKS,
            {**MERGES_OPTIONS, "measures": SHOWN_MEASURES},
            required=("methods", "weights"),
        ),
        Layout(
            "tasks",
            "table",
            "scores",
            TABLE_FORMATS,
            "every single task, with the reference models and each language's own merge by each method",
            "Every task by itself: the base, adapted and instruct models, and each language's own merge by each method,"
            " tested in its own language. " + MARKS.replace("column and block", "row"),
            {**MERGES_OPTIONS, "measures": SHOWN_MEASURES},
            required=("methods", "weights"),
        ),
        Layout(
            "best",
            "table",
            "scores",
            TABLE_FORMATS,
            "each method at its best w, chosen on one half of the documents and reported on the other",
            "Each method at its best *w*. Under Test, *w* is chosen on the development half of the documents and the"
            " scores are those of the other half. Under All, it is chosen and reported on all documents, as in the"
            " papers. A table with *p kept* chooses among the merges that are shown to have lost nothing. " + MARKS,
            {**TABLE_OPTIONS, "methods": NAMES, "criterion": CRITERION, "measures": SHOWN_MEASURES, "keep": KEEP},
            required=("methods",),
            answers_for="keep",
        ),
        Layout(
            "paired",
            "table",
            "answers",
            ("csv", "md"),
            "each merge against its instruct model on the same documents, with p-values",
            "Each merge compared with its instruct model on the same documents, by language and measure: the difference"
            " in points with its 95% interval (paired bootstrap), *p* of a paired randomisation test, in which documents"
            " are exchanged between the two models at random, and *p_holm*, corrected by Holm's method over the merges"
            " that are compared in the same language and measure. With a margin: the *p* of one-sided tests that the"
            " merge is not worse, and not better, by the margin or more.",
            TABLE_OPTIONS,
        ),
        Layout(
            "compare",
            "table",
            "scores",
            ("csv", "md", "html"),
            "a paper's published numbers beside the run's",
            "Every published number beside the score of this run: the difference, and whether the published number lies"
            " within the 95% interval of this run's score. The files in ``config/published`` say which model of the run"
            " each published number belongs to.",
            made="published",
        ),
        Layout(
            "table1",
            "table",
            "corpora",
            TABLE_FORMATS,
            "documents, words and tokens of the corpora, and what was dropped",
            "The training corpora: documents and tokens by tokenizer, with the beginning and the end of each document"
            " (Table 1 of the paper). Words are ICU's. Published numbers are in brackets. Below: what was dropped, why.",
            made="corpora",
        ),
        Layout(
            *("searches", "table", "searches", ("csv", "md")),
            "what a search knows of each cell: the cells that it has found, and those that it has stopped",
            "The cells of each search: scores on one half of the documents, and of those that are found on the other.",
            made="search",
        ),
        Layout(
            "sweep",
            "figure",
            "scores",
            FIGURE_FORMATS,
            "scores against the weight w, with one panel per language and measure",
            "Scores against the weight *w* of the language model. There is one panel per language and measure, and one"
            " line per merge method; each merge is tested in its own language, and the panels of a measure have the same"
            " scale. A ring marks the best *w* of each line, whose value is above the panel. Vertical bars are 95%"
            " intervals over the choice of documents; those of the methods are drawn side by side. The dashed line is the"
            " instruct model, with its interval as a grey band, and the dotted line is the adapted model. A gap in a line"
            " is a missing score.",
            {**FIGURE_OPTIONS, "measures": SHOWN_MEASURES},
            required=("methods",),
        ),
        Layout(
            "pareto",
            "figure",
            "scores",
            FIGURE_FORMATS,
            "a measure of the language against instruction following, with one panel per target",
            "What each merge gains in the language and loses in instruction following. There is one panel per target"
            " and one point per model, labelled with its weight *w* where there is room. All panels have the same scale."
            " The grey line is the Pareto front: the models that no other model matches or beats in both scores. Models"
            " off the front have hollow points. The cross at the instruct model is its 95% intervals.",
            {**FIGURE_OPTIONS, "measure": MEASURE},
            required=("methods",),
            needs=("ifeval",),
        ),
        Layout(
            "anatomy",
            "figure",
            "anatomies",
            FIGURE_FORMATS,
            "norms, cosines and sign conflicts of the task vectors, where each merge lies, and tokens per word",
            "Anatomy of the merges, by layer (first row) and by module (second row). The change of a model is its difference"
            " from the base (its task vector). The columns show how large the changes of the instruct model and of the"
            " language models are, the cosine between the two, and the share of weights in which their signs differ (50%:"
            " as of random ones). Where lines coincide, the wider one lies below. The last column shows, against the weight"
            " *w* and over the merges of one language, the size of the merge's change (1: that of the instruct model) and"
            " its cosine with that of the instruct model. At sizes far above 1, a merge has left the region in which the"
            " models were trained. The third row, in runs that evaluate translation, shows how many tokens each model's"
            " tokenizer makes of a word of the reference translations.",
            made="merges",
        ),
        Layout(
            "curves",
            "figure",
            "histories",
            FIGURE_FORMATS,
            "loss, held-out bits per byte and speed of the trainings",
            "Loss, bits per byte of held-out text by language, and speed. Dotted lines mark where a training started again.",
            made="trainings",
        ),
        Layout(
            "report",
            "page",
            "answers",
            ("html",),
            "one page with the grid, plots to choose, and answers side by side",
            "The interactive page: the grid as a table to filter and sort, sweep, Pareto and forest plots of any measure"
            " or task, and the answers of models side by side. The file works offline.",
            made="all",
        ),
    )
}
"""By name."""

TABLES = [name for name, layout in LAYOUTS.items() if layout.kind == "table" and layout.made == "named"]
"""Names that an entry of a configuration's `tables` may give as its layout."""

FIGURES = [name for name, layout in LAYOUTS.items() if layout.kind == "figure" and layout.made == "named"]
"""The same of `figures`."""

DEFAULT_FIGURE = "sweep"
"""The layout of a figure that does not name one."""

RESERVED = [*(name for name, layout in LAYOUTS.items() if layout.made != "named"), VOTES]
"""Names that no table or figure of a configuration may have: reports that it does not name, and
what `langmerge votes collect` makes.
"""
