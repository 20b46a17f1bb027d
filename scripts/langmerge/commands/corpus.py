"""Make a corpus: clean text, a selection of it, and its tokens.

    langmerge corpus clean latxa-eu clean/                       # filters, duplicates
    langmerge corpus select latxa-eu clean/ selected/            # budget, held-out part
    langmerge corpus items config/paper.yaml items.jsonl         # what the run's benchmarks ask
    langmerge corpus contamination latxa-eu selected/ items.jsonl searched/
    langmerge corpus tokenise latxa-eu selected/ tokens/ --tokenizer models/Llama-3.1-8B \\
        --document-end '<|end_of_text|>' --contamination searched/

A corpus is a file of config/corpora, looked for in the working folder first and in langmerge's
checkout second. Each step writes a folder as a whole; a killed step continues with the files that
it had not finished. docs/corpora.md explains the steps. `langmerge report` makes Table 1 of a run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from langmerge.commands.merge import cores
from langmerge.errors import UserError
from langmerge.files import write_jsonl
from langmerge.grid.corpora import read_corpus
from langmerge.grid.folders import Folders
from langmerge.grid.grid import read_run
from langmerge.offline import go_offline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")

    def step(do: Callable[[argparse.Namespace], None], summary: str, *folders: str) -> argparse.ArgumentParser:
        name = do.__name__.removeprefix("do_")
        made = steps.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        made.set_defaults(do=do)
        made.add_argument("corpus", metavar="CORPUS", help="the name of a file of config/corpora")
        for folder in folders:
            made.add_argument(folder, type=Path)
        return made

    def parallel(made: argparse.ArgumentParser) -> None:
        made.add_argument(
            "--processes",
            type=int,
            default=cores(),
            metavar="N",
            help="files that are worked on at the same time (default: the cores of this process)",
        )

    clean = step(do_clean, "apply the filters, drop duplicates", "output")
    clean.add_argument(
        "--cache",
        type=Path,
        default=Path("results/cache"),
        metavar="DIR",
        help="where `langmerge prefetch` put data sets (default: %(default)s)",
    )
    select = step(do_select, "choose documents up to the budget, and held-out ones", "clean", "output")
    tokenise = step(do_tokenise, "turn the selected documents into tokens", "selected", "output")
    for made in (select, tokenise):
        required = made is tokenise
        made.add_argument(
            "--tokenizer",
            type=Path,
            required=required,
            metavar="DIR",
            help="folder of a tokenizer" + ("" if required else ", for a budget of tokens"),
        )
        made.add_argument("--document-end", required=required, metavar="TOKEN", help="the token that ends a document")
    tokenise.add_argument(
        "--contamination", type=Path, metavar="DIR", help="leave out the documents that this search dropped"
    )
    search = step(
        do_contamination, "search the selected documents for items of benchmarks", "selected", "items", "output"
    )
    for made in (clean, search, tokenise):
        parallel(made)

    items = steps.add_parser("items", help="write the items of the benchmarks that a run evaluates")
    items.set_defaults(do=do_items)
    items.add_argument("run", metavar="RUN", help="the run's configuration: a YAML file or YAML text")
    items.add_argument("output", type=Path, help="a .jsonl file")


def run(options: argparse.Namespace) -> None:
    if getattr(options, "processes", 1) < 1:
        raise UserError(f"--processes {options.processes}: expected a number above 0.")
    go_offline()
    options.do(options)


def do_clean(options: argparse.Namespace) -> None:
    from langmerge.corpora.clean import clean

    corpus = read_corpus(options.corpus, Folders())
    files = corpus.files(options.cache)
    counts = clean(
        options.output, files, corpus.settings, corpus.stop_words, options.processes, corpus.clean_key, corpus.where
    )
    print(f"{counts['documents']:,} of {counts['read']:,} documents are clean. Dropped:")
    for name, reasons in counts["dropped"].items():
        print(f"  {name}: {', '.join(f'{count:,} {reason}' for reason, count in reasons.items()) or 'none'}")


def do_select(options: argparse.Namespace) -> None:
    from langmerge.corpora.select import select

    corpus = read_corpus(options.corpus, Folders())
    counter = None
    if "tokens" in corpus.settings["budget"]:
        if not (options.tokenizer and options.document_end):
            raise UserError(f"{corpus.where}: its budget is in tokens: give --tokenizer and --document-end.")
        from langmerge.corpora.tokenise import DocumentTokenizer

        counter = DocumentTokenizer(options.tokenizer, options.document_end).lengths
    counts = select(options.clean, options.output, corpus.settings, counter, corpus.where)
    print(f"{counts['train']['documents']:,} documents to train on, {counts['held_out']['documents']:,} held out.")
    if not counts["reached"]:
        unit = next(unit for unit in ("documents", "words", "tokens") if unit in counts["budget"])
        print(f"The clean text is smaller than the budget of {counts['budget'][unit]:,} {unit}: all of it was taken.")


def do_items(options: argparse.Namespace) -> None:
    from langmerge.evaluation.items import items
    from langmerge.evaluation.lookup import Lookup

    grid = read_run(options.run)
    tasks = grid.tasks.evaluated
    datasets = {name: str(folder) for name, folder in grid.tasks.datasets(tasks).items()}
    lookup = Lookup(grid.tasks.include(tasks), datasets)
    write_jsonl(options.output, items(tasks, lookup))


def do_contamination(options: argparse.Namespace) -> None:
    from langmerge.corpora.contamination import search

    corpus = read_corpus(options.corpus, Folders())
    report = search(options.selected, options.items, options.output, corpus.settings, options.processes)
    counts = report["documents"]
    print(
        f"{counts['contaminated']:,} of {counts['searched']:,} documents hold items of benchmarks; {counts['dropped']:,} are dropped."
    )


def do_tokenise(options: argparse.Namespace) -> None:
    from langmerge.corpora.tokenise import tokenise

    corpus = read_corpus(options.corpus, Folders())
    parts = tokenise(
        options.selected,
        options.output,
        options.tokenizer,
        options.document_end,
        options.contamination,
        options.processes,
    )
    for part, meta in parts.items():
        print(f"{corpus.name}, {part}: {meta['documents']:,} documents, {meta['tokens']:,} tokens")
