"""Run everything that a configuration asks for: train, merge, evaluate, tabulate and plot.

    langmerge run                                    config/config.yaml, on all cores of this machine
    langmerge run config/paper.yaml --profile slurm  on a cluster

It says what will be done, shows one line of progress with the time that is left, one line for each
job that fails, and at the end where the results are. It is Snakemake that works; for its other
options call `snakemake` itself. Interrupt it whenever you like: the same command continues.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from langmerge.errors import UserError
from langmerge.grid.folders import ROOT
from langmerge.grid.grid import Grid, default_run
from langmerge.measures import CRITERION, MEASURES
from langmerge.model import Model
from langmerge.overview.console import Console
from langmerge.searched import lines
from langmerge.yamls import read_document


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="*",
        help="the run's configuration; of several files, a later one goes over an earlier one (default: config/config.yaml)",
    )
    parser.add_argument("--profile", metavar="NAME", help="a profile of Snakemake's, such as slurm")
    parser.add_argument("--cores", metavar="N", help="how many cores to use: a number, or all (default: all)")
    parser.add_argument(
        "--config",
        metavar="KEY=VALUE",
        nargs="+",
        default=[],
        help="changes of the configuration, such as languages=eu,oc",
    )
    parser.add_argument("--keep-going", action="store_true", help="after a failure, do what does not depend on it")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")


def run(options: argparse.Namespace) -> None:
    console = Console()
    arguments = snakemake_arguments(options)
    # Imported here, because it takes a second, which a mistake in an argument should not have to
    # wait for.
    from langmerge import controller

    is_done = controller.run(arguments, console)
    again = f"envs/run langmerge {' '.join(sys.argv[1:])}" if "commands" not in sys.argv[0] else "the same command"
    if console.interrupted:
        print(
            f"Interrupted. Nothing is lost: what is finished is kept, also the finished tasks of an evaluation.\nTo go on: {again}",
            file=sys.stderr,
        )
        sys.exit(130)
    if not is_done:
        print(*ended(console, again), sep="\n", file=sys.stderr)
        sys.exit(1)
    if console.grid and not options.dry_run:
        print(*results(console.grid), sep="\n")
    elif console.grid and console.forecast is None:
        print(f"{console.grid.layout.root}: nothing is left to do.")


def snakemake_arguments(options: argparse.Namespace) -> list[str]:
    """Snakemake's command line.

    Raises:
        UserError: a file cannot be read, or a number is none.
    """
    if options.cores and options.cores != "all" and not (options.cores.isdigit() and int(options.cores)):
        raise UserError(f"--cores {options.cores}: expected a number above 0, or all.")
    if wrong := [change for change in options.config if "=" not in change]:
        raise UserError(f"--config {wrong[0]}: expected KEY=VALUE, such as weights=0.5,1.")
    for path in options.run or [default_run()]:
        if not isinstance(read_document(Path(path)).content, dict):
            raise UserError(f"{path} is empty or holds a list, expected a mapping. config/README.md explains its keys.")
    arguments = (
        [] if Path("Snakefile").is_file() else ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(Path.cwd())]
    )
    arguments += ["--configfile", *options.run] if options.run else []
    arguments += ["--config", *options.config] if options.config else []
    arguments += ["--profile", options.profile] if options.profile else []
    arguments += ["--cores", options.cores or "all"] if options.cores or not options.profile else []
    arguments += ["--rerun-incomplete", *(["--keep-going"] if options.keep_going else [])]
    return [*arguments, *(["--dry-run"] if options.dry_run else [])]


def ended(console: Console, again: str) -> Iterator[str]:
    """What is said of a run that has failed."""
    if console.failures:
        number = len(console.failures)
        yield f"{number} job{'s' if number > 1 else ''} failed. What is finished is kept. When the reason is gone, continue: {again}"
    else:
        yield f"Ended before it was done. What is finished is kept. To continue: {again}"


def results(grid: Grid) -> Iterator[str]:
    """Where the results are, and the three numbers that say most."""
    kinds = {report.layout.kind for report in grid.reports.values()}
    folders = [str(grid.layout.root / f"{kind}s") for kind in ("table", "figure") if kind in kinds]
    yield f"Done. Scores: {grid.layout.scores}" + (f"; {' and '.join(folders)}" if folders else "")
    [page] = grid.jobs.drawn("page")
    yield f"All of it in one page: {page}"
    yield from numbers(grid)
    for record in grid.searches.records():
        yield from (line for line in lines(record) if not line.startswith("  ") or " over the instruct model" in line)


def numbers(grid: Grid) -> Iterator[str]:
    """Of the merge that gained most in its language: what it gained in each measure, or lost."""
    from langmerge.reporting.scores import read_scores
    from langmerge.reporting.summary import Summary, language_score

    summary = Summary(read_scores(grid.layout.scores))

    def gain(model: Model, measures: tuple[str, ...]) -> float:
        own = language_score(model, summary, measures).mean
        return own - language_score(Model(model.backbone, "instruct"), summary, measures, model.target).mean

    gains = {model: gain(model, CRITERION) for model in summary.models if model.is_merge}
    known = {model: value for model, value in gains.items() if value == value}  # not NaN
    if not known:
        return
    best = max(known, key=lambda model: (known[model], model.id))
    instruct = Model(best.backbone, "instruct")
    yield f"The merge that gained most in its language is {best.id}, compared with its instruct model:"
    for name in ("benchmark", "mt", "ifeval"):
        own, before = (language_score(model, summary, [name], best.target).mean for model in (best, instruct))
        if own == own and before == before:
            yield f"  {MEASURES[name].axis}: {own:.1f}, was {before:.1f}"
