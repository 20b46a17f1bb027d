"""Write the commits of what was fetched into the files that name it without a revision.

    langmerge prefetch config/paper.yaml
    langmerge pin config/paper.yaml

A model or data set without `revision:` is `main`, which may be another one tomorrow. This adds the
commit that is in the cache to your files in config/backbones and to config/benchmarks.yaml; of a
shipped file, a copy is made there. Comments stay. Do it before models are evaluated: a result is
that of its model's revision, and `main` and a commit are two.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from langmerge.errors import UserError
from langmerge.files import write_text
from langmerge.grid.config import Config
from langmerge.grid.grid import default_run, read_run
from langmerge.hub.repository import Repository
from langmerge.yamls import Key, parse_yaml, read_document


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", metavar="RUN", nargs="?", help="the run's configuration: a YAML file (default: config/config.yaml)"
    )


def run(options: argparse.Namespace) -> None:
    grid = read_run(options.run or default_run())
    loose = [each for each in map(Repository.of, grid.repositories) if each.revision == "main"]
    commits = {(each.kind, each.hub): each.record["revision"] for each in loose if each.record}
    pinned: set[tuple[str, str]] = set()
    for path, key, kind, hub in [*in_backbones(grid.settings), *in_catalogues(grid.settings)]:
        if (kind, hub) in commits:
            own = copied(path, grid.settings)
            write_text(own, with_revision(own, key, kind, hub, commits[kind, hub]))
            print(f"{own}: {'.'.join(map(str, key))}: {hub}: {commits[kind, hub]}")
            pinned.add((kind, hub))
    for each in loose:
        if (each.kind, each.hub) not in commits:
            print(f"{each.hub}: not in the cache. `langmerge prefetch` fetches it.")
        elif (each.kind, each.hub) not in pinned:
            print(
                f"{each.hub}: its file names it by a pattern. Add {{hub: {each.hub}, revision: {commits[each.kind, each.hub]}}} under "
                "`languages` of its model."
            )
    if not loose:
        print("Every model and data set has a revision.")


def in_backbones(config: Config) -> Iterator[tuple[Path, Key, str, str]]:
    """The models of the run's backbones without a revision: file, key, kind, name on the hub."""
    for name in config.backbones:
        path = config.folders.find(f"backbones/{name}.yaml")
        for method, source in config.backbone(name)["models"].items():
            if "revision" in source:
                continue
            entries = {("models", method): source}
            if isinstance(source.get("languages"), dict):
                entries |= {("models", method, "languages", code): own for code, own in source["languages"].items()}
            for key, entry in entries.items():
                if "hub" in entry and "revision" not in entry:
                    yield path, key, "models", entry["hub"]


def in_catalogues(config: Config) -> Iterator[tuple[Path, Key, str, str]]:
    """The data sets of the catalogues without a revision."""
    for path in [folder / "benchmarks.yaml" for folder in config.folders]:
        for name, entry in (read_document(path).content or {}).items() if path.is_file() else []:
            # The user's entry goes over a shipped one.
            if config.benchmarks.get(name) == entry and "dataset" in entry and "revision" not in entry:
                yield path, (name,), "datasets", entry["dataset"]


def copied(path: Path, config: Config) -> Path:
    """The user's own file: of a shipped one, a copy in the user's folder."""
    own = config.folders.own / path.relative_to(
        next(folder for folder in config.folders if path.is_relative_to(folder))
    )
    if not own.exists():
        own.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, own)
    return own


def with_revision(path: Path, key: Key, kind: str, hub: str, commit: str) -> str:
    """A file's text with a commit behind a name on the hub.

    Raises:
        UserError: the name is not written in a way that is understood.
    """
    document, field = read_document(path), "hub" if kind == "models" else "dataset"
    expected = document.content
    for name in key:
        expected = expected.get(name, {})
    if not expected:  # a shipped entry that the user's catalogue does not have
        entry = yaml.safe_dump({key[0]: {"dataset": hub, "revision": commit}}, default_flow_style=True, width=10**6)
        return f"{path.read_text(encoding='utf-8').rstrip()}\n{entry.strip()[1:-1]}\n"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    number = (document.line((*key, field)) or 1) - 1
    match = re.search(rf"\b{field}: *([\"']?){re.escape(hub)}\1(?P<rest> *[,}}])?", lines[number])
    if match and match["rest"]:
        end = match.start("rest")
        lines[number] = f"{lines[number][:end]}, revision: {commit}{lines[number][end:]}"
    elif match:
        lines.insert(number + 1, f"{' ' * match.start()}revision: {commit}\n")
    expected["revision"] = commit
    text = "".join(lines)
    if not match or parse_yaml(text, str(path)) != document.content:
        raise UserError(
            f"{document.at(key)}: add `revision: {commit}` by hand: this file is written in an unusual way."
        )
    return text
