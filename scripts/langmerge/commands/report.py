"""Make the tables, the figures and the page of a run from its scores, answers and anatomies.

The page is report.html beside scores.csv: one file that works offline, with the grid, plots to
choose, and the answers of models side by side.

Examples:
    langmerge report config/config.yaml                 all of them
    langmerge report config/config.yaml report          the page
    langmerge report config/config.yaml linear pareto   these two
    langmerge report config/paper.yaml table3           by the number in the paper (alias)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from langmerge.commands.collect import answer_languages, answered
from langmerge.errors import UserError
from langmerge.files import write_bytes
from langmerge.grid.grid import Grid, read_run
from langmerge.grid.layout import report_in
from langmerge.grid.reports import Report
from langmerge.reporting.inputs import win_rates
from langmerge.reporting.scores import of_results, read_scores
from langmerge.reporting.sources import Sources
from langmerge.training.folders import HISTORY


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="the run's configuration: a YAML file, or YAML text")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="tables and figures of the run, or report, the page (default: all)"
    )
    parser.add_argument(
        "--scores", type=Path, metavar="FILE", help="the scores to show (default: scores.csv of the run)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="preview: write to FOLDER, and show what is finished if the run is not done",
    )
    parser.add_argument("--threads", type=int, default=1, help="processes that read answers (default: 1)")


def run(options: argparse.Namespace) -> None:
    grid = read_run(options.run)
    reports = named(grid.reports, options.names)
    sources = sources_of(grid, reports, options.scores, options.output is not None, options.threads)
    for report in reports:
        kind = report.layout.kind
        stem = report_in(options.output or grid.layout.root, kind, report.name)
        files = report.layout.make(sources, report.spec, report.name)
        for ending, content in files.items():
            written = content if isinstance(content, bytes) else content.encode()
            write_bytes(stem.with_name(f"{stem.name}.{ending}"), written)


def named(reports: dict[str, Report], names: Iterable[str]) -> list[Report]:
    """The reports with these names, each once; all, if there are no names.

    Raises:
        UserError: the run has no such table or figure.
    """
    aliases = {report.alias: name for name, report in reports.items() if report.alias}
    names = list(dict.fromkeys(aliases.get(name, name) for name in names)) or list(reports)
    if unknown := [name for name in names if name not in reports]:
        known = f"It has: {', '.join(reports)}." if reports else "It has none."
        raise UserError(f"the run has no table or figure named {', '.join(unknown)}. {known}")
    return [reports[name] for name in names]


def sources_of(grid: Grid, reports: list[Report], scores: Path | None, preview: bool, threads: int) -> Sources:
    """What these reports are made from; a preview takes the answers and anatomies that exist.

    Raises:
        UserError: some of it is missing, or not what it should be.
    """
    reads = {report.layout.reads for report in reports}
    drawn_from_scores = {"scores", "anatomies"} & reads
    answers = answered(grid, preview, threads) if "answers" in reads else []
    anatomies = []
    if "anatomies" in reads:
        anatomies = [anatomy for anatomy in grid.anatomies() if not preview or anatomy.path.is_file()]
    published = grid.settings.published
    voted = win_rates(grid.layout.win_rates, grid.models, grid.evaluated)
    table = of_results([*((one.path, one.result) for one in answers), *voted]) if answers else None
    return Sources(
        scores=read_scores(scores or grid.layout.scores) if drawn_from_scores else table,
        models=list(grid.models.values()),
        answers=answers,
        anatomies=anatomies,
        corpora=grid.corpora.counts(),
        searches=grid.searches.records() if "searches" in reads else [],
        histories={model.id: grid.layout.made(model.id) / HISTORY for model in grid.measured},
        published=published[0].parent if published else None,
        recipes={model.id: grid.recipes.portable(model) for model in grid.expansion.merges},
        families=grid.tasks.named_families(),
        candidates=answer_languages(grid),
        threads=threads,
    )
