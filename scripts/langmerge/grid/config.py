"""A run's configuration, and the files of languages, backbones and benchmarks that it names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.faults import Faults, nearest
from langmerge.grid.folders import Folders
from langmerge.grid.schema import check_weights, schema_faults, validate
from langmerge.grid.variables import variants
from langmerge.measures import CRITERION
from langmerge.yamls import Document, dotted_key, read_document

DEFAULTS = {
    "results": "results",
    "cache": "results/cache",
    "seed": 1,
    "evaluation_languages": [],
    "weights": [],
    "corpora": [],
    "live_merges": 4,
    "keep": [],
    "part": "",
    "shards": "language",
    "task_settings": {},
    "world": {},
    "margins": {},
    "tables": {},
    "figures": {},
}

SEARCH = {"measures": [*CRITERION], "languages": [], "keep": {}, "budget": 0.35, "evaluate": "all", "variables": {}}
"""What a search has that its configuration does not say."""


@dataclass(frozen=True)
class Origin:
    """Where the keys of a run's configuration come from.

    Attributes:
        name: how messages call all of it.
        documents: its files; a later one goes over an earlier one.
        run: what became of them, with the changes of the command line.
    """

    name: str
    documents: tuple[Document, ...] = ()
    run: Mapping[str, Any] = field(default_factory=dict)

    def at(self, key: Sequence[str | int] = ()) -> str:
        """How messages name a place: of several files, the last that has the key."""
        for depth in range(len(key), 0, -1):
            for document in reversed(self.documents):
                if tuple(key[:depth]) in document.lines:
                    value = document.content[key[0]]
                    is_changed = not isinstance(value, dict) and value != self.run.get(key[0])
                    return f"--config: {dotted_key(key)}" if is_changed else document.at(key)
        return Document(self.name, None).at(key)


class Config:
    """What a run's file and the files that it names say.

    Attributes:
        run: the run's configuration, with defaults filled in.
        methods: those of the run, and then those that its search makes; variants: for each of the
            latter the one that it is made of.
        source: how messages call the run's configuration.
        at: how messages name the place of a key in it, given as a list.
        languages: codes of the languages merged in; evaluated: those, and then the ones that are
            only evaluated.
    """

    def __init__(self, run: dict[str, Any], folders: Folders, source: str, documents: Sequence[Document] = ()) -> None:
        """Check the run's configuration, and the files that it names.

        Args:
            documents: the files that the run's configuration comes from.

        Raises:
            UserError: they do not fit their schemas; the message names every mistake.
        """
        self.folders = folders
        self.source = source
        self.at = Origin(source, tuple(documents), run).at
        self.document = cache(self._document)
        self.run = with_defaults(run)
        faults = Faults()
        faults.add(*schema_faults(self.run, "run", self.at))
        if faults.messages:
            self.check_named_files(faults)
            faults.refuse("\nconfig/README.md explains the keys.")
        made = [(name, method, settings) for name, method, settings in variants(self.run) if name != method]
        if taken := [name for name, *_ in made if name in self.run["methods"]]:
            raise UserError(
                f"{self.at(['methods', taken[0]])}: the search makes a method of this name. Choose another name."
            )
        self.variants = {name: method for name, method, _ in made}
        self.methods: dict[str, dict[str, Any]] = self.run["methods"] | {name: settings for name, _, settings in made}
        self.languages: list[str] = self.run["languages"]
        self.evaluated = list(dict.fromkeys([*self.languages, *self.run["evaluation_languages"]]))
        faults.add(*check_weights(self.run, self.at), *self.twice_named())
        self.check_named_files(faults)
        faults.refuse()

    def check_named_files(self, faults: Faults) -> None:
        """Note what is wrong in the files of the languages and backbones that the run names, as far
        as it names them.
        """
        for key in ("languages", "evaluation_languages", "backbones"):
            names = self.run.get(key)
            for name in [name for name in names if isinstance(name, str)] if isinstance(names, list) else []:
                with faults.kept():
                    self.file("backbone" if key == "backbones" else "language", name)
        with faults.kept():
            _ = self.benchmarks

    def twice_named(self) -> Iterator[str]:
        """Languages that are in both lists."""
        for code in self.run["evaluation_languages"]:
            if code in self.languages:
                yield (
                    f"{self.at(['evaluation_languages'])}: {code} is also in `languages`, which are all evaluated. Leave it out here, "
                    "or there if it is not to be merged in."
                )

    @property
    def search(self) -> dict[str, Any]:
        """How the run searches; empty if it does not."""
        return self.run.get("search", {})

    def at_method(self, name: str, *key: str) -> str:
        """How messages name the place where a method is defined, or of a key of it; of one that a
        search makes, the one that it is made of.
        """
        return self.at(["methods", self.variants.get(name, name), *key])

    def language(self, code: str) -> dict[str, Any]:
        """The content of config/languages/<code>.yaml."""
        return self.file("language", code)

    def backbone(self, name: str) -> dict[str, Any]:
        """The content of config/backbones/<name>.yaml."""
        return self.file("backbone", name)

    def file(self, kind: str, name: str) -> dict[str, Any]:
        """The content of a language's or a backbone's file: the user's own, else the shipped one.

        Raises:
            UserError: there is no such file, or it does not fit its schema.
        """
        return self.document(kind, name).content

    def _document(self, kind: str, name: str) -> Document:
        path = self.folders.find(f"{kind}s/{name}.yaml")
        if path is None:
            known = self.folders.names(f"{kind}s")
            raise UserError(
                f"{self.at([f'{kind}s'])}: unknown {kind} {name!r}: there is no {self.folders.own}/{kind}s/{name}.yaml."
                f"{nearest(name, known)} Known: {', '.join(known)}. Write that file, or correct the name."
            )
        document = read_document(path)
        validate(document, kind)
        return document

    def where(self, kind: str, name: str) -> str:
        """What messages call a language's or a backbone's file; of a shipped one, where to put a
        copy that may be changed.
        """
        own, path = self.folders.own / f"{kind}s" / f"{name}.yaml", self.folders.find(f"{kind}s/{name}.yaml")
        return str(own) if path in (own, None) else f"{path} (shipped; to change it, copy it to {own})"

    def place(self, kind: str, name: str, *key: str | int) -> str:
        """How messages name the place of a key in the file of a language or a backbone."""
        document = self.document(kind, name)
        line = document.line(key)
        return f"{document.name}:{line}{self.where(kind, name).removeprefix(document.name)}: {dotted_key(key)}"

    @cached_property
    def benchmarks(self) -> dict[str, dict[str, Any]]:
        """For each real task what it reads: the shipped benchmarks.yaml, and the user's, whose
        entries go first.

        Raises:
            UserError: a catalogue does not fit its schema, or an entry does not name exactly one
                source.
        """
        found: dict[str, dict[str, Any]] = {}
        for path in [folder / "benchmarks.yaml" for folder in reversed([*self.folders])]:
            if path.is_file():
                document = read_document(path)
                if document.content is not None:
                    validate(document, "benchmarks")
                    found |= document.content
        return found

    @property
    def published(self) -> list[Path]:
        """The files of the published numbers that the run is compared with; none if it names no
        paper.
        """
        name = self.run.get("published")
        folder = self.folders.find(f"published/{name}") if name else None
        return sorted(folder.iterdir()) if folder else []

    @property
    def backbones(self) -> list[str]:
        return self.run["backbones"]

    def backbones_of_run(self, names: Iterable[str] | None) -> list[str]:
        """Those of an experiment's or a table's backbones that the run has; None: all.

        `--config backbones=...` runs a part of a large grid, whose tables name more.
        """
        return [name for name in self.backbones if names is None or name in names]


def with_defaults(run: dict[str, Any]) -> dict[str, Any]:
    """The configuration with defaults filled in, and what the command line gives as the schema
    expects it: `languages=eu,gl`, `weights=[0.5,1]`, `weights=0.5,1e-3`, `run=2024`.
    """
    run = {**DEFAULTS, **run}
    for key in ("languages", "evaluation_languages", "backbones", "corpora", "weights"):
        if isinstance(run.get(key), str | int | float):
            run[key] = [item.strip() for item in str(run[key]).split(",")]
    if isinstance(run["weights"], list):
        run["weights"] = [number(weight) for weight in run["weights"]]
    if isinstance(run.get("run"), int) and not isinstance(run["run"], bool):
        run["run"] = str(run["run"])
    if isinstance(run.get("search"), dict):
        run["search"] = {**SEARCH, **run["search"]}
    if run.get("experiments") is None:
        run.pop("experiments", None)
        if "search" in run:
            run["experiments"] = {}
    elif isinstance(run["experiments"], dict):
        run["experiments"] = {
            name: {"evaluate": "all", **experiment} if isinstance(experiment, dict) else experiment
            for name, experiment in run["experiments"].items()
        }
    return run


def number(word: Any) -> Any:
    """The number that a word of the command line is, which Snakemake may leave as text; anything
    else as it is.
    """
    try:
        return float(word) if isinstance(word, str) else word
    except ValueError:
        return word
