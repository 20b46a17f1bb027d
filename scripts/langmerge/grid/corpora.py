"""Corpora: config/corpora/<name>.yaml, the files that they are made from, and what is made of them."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.faults import Faults, nearest
from langmerge.files import sha256
from langmerge.grid.config import Config
from langmerge.grid.digest import digest
from langmerge.grid.folders import Folders
from langmerge.grid.layout import fetched, is_corpus
from langmerge.grid.models import Models
from langmerge.grid.recipes import Recipes
from langmerge.grid.schema import validate
from langmerge.model import EXTRA, Model
from langmerge.reporting.inputs import Counts
from langmerge.semantics import SEMANTICS
from langmerge.yamls import Document, read_document

DEFAULTS: dict[str, Any] = {"filters": [], "duplicates": "exact", "held_out": 0, "budget": {}}
SOURCE = {"text": "text", "split": "file"}
CONTAMINATION = {"ngram": 13, "action": "report"}


@dataclass(frozen=True)
class Corpus:
    """What a corpus's file and that of its language say.

    Attributes:
        name: of its file.
        settings: the content of the file, with defaults.
        stop_words: of its language.
        document: the file, for messages.
    """

    name: str
    settings: dict[str, Any]
    stop_words: list[str]
    document: Document

    @property
    def where(self) -> str:
        """How messages call the file."""
        return self.document.name

    @property
    def language(self) -> str:
        return self.settings["language"]

    @property
    def source(self) -> dict[str, Any]:
        return self.settings["source"]

    @property
    def repository(self) -> dict[str, Any] | None:
        """The data set on the hub: {hub, revision, files, gb}; None for local files."""
        if "hub" not in self.source:
            return None
        return {key: self.source[key] for key in ("hub", "revision", "files", "gb") if key in self.source}

    def folder(self, cache: Path) -> Path | None:
        """The folder that its data set is fetched into."""
        repository = self.repository
        return fetched(cache, "datasets", repository["hub"], repository.get("revision", "main")) if repository else None

    def files(self, cache: Path) -> list[Path]:
        """The files that it is made from, sorted.

        Raises:
            UserError: a pattern fits none, or the data set is not fetched.
        """
        folder = self.folder(cache)
        if folder is None:
            return sorted({path for pattern in self.source["paths"] for path in self.local(pattern)})
        if not folder.is_dir():
            raise UserError(f"{self.document.at(['source'])}: {folder} is not there. `langmerge prefetch` fetches it.")
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        found = [name for name in names if any(fnmatch(name, pattern) for pattern in self.source["files"])]
        if not found:
            raise UserError(
                f"{self.document.at(['source', 'files'])}: none of {', '.join(self.source['files'])} is in {folder}. Correct the "
                "patterns, then fetch again."
            )
        return [folder / name for name in found]

    def local(self, pattern: str) -> list[Path]:
        """The local files that a path or a pattern names."""
        exact = Path(pattern)
        found = [exact] if exact.is_file() else [Path(name) for name in glob.glob(pattern, recursive=True)]  # noqa: PTH207
        files = [path for path in found if path.is_file()]
        if not files:
            raise UserError(
                f"{self.document.at(['source', 'paths'])}: {pattern}: no such file. Correct the path; it starts at the folder that langmerge is called in."
            )
        return files

    def content(self) -> Any:
        """What identifies its text: of a data set name, revision and patterns; the hashes of local
        files.
        """
        if self.repository is not None:
            return {key: self.repository.get(key) for key in ("hub", "revision", "files")}
        return sorted(sha256(path) for path in self.files(Path()))

    @property
    def clean_key(self) -> str:
        """Names all that determines the clean text."""
        columns = {key: self.source.get(key) for key in ("text", "url", "split")}
        return digest(
            {
                "text": SEMANTICS["text"],
                "language": self.language,
                "stop_words": self.stop_words,
                "content": self.content(),
                "columns": columns,
                **{key: self.settings[key] for key in ("filters", "duplicates")},
            }
        )

    @property
    def drops(self) -> bool:
        """Whether documents that hold items of the benchmarks are left out of its tokens."""
        return self.settings["contamination"]["action"] == "drop"

    @property
    def selection(self) -> dict[str, Any]:
        """What of its settings determines which of the clean documents are taken."""
        return {key: self.settings[key] for key in ("held_out", "budget")}


def read_corpus(name: str, folders: Folders, source: str = "the command") -> Corpus:
    """The corpus of a name: the user's own file, else the shipped one.

    Args:
        source: how messages call what names it.

    Raises:
        UserError: there is no such file, or it or its language's does not fit its schema.
    """
    path = folders.find(f"corpora/{name}.yaml")
    if path is None:
        known = folders.names("corpora")
        raise UserError(
            f"{source}: unknown corpus {name!r}: there is no {folders.own}/corpora/{name}.yaml.{nearest(name, known)} "
            f"Known: {', '.join(known)}. Write that file, or correct the name."
        )
    document = read_document(path)
    validate(document, "corpus")
    content = document.content
    code = content["language"]
    file = folders.find(f"languages/{code}.yaml")
    if file is None:
        known = folders.names("languages")
        raise UserError(
            f"{document.at(['language'])}: there is no {folders.own}/languages/{code}.yaml.{nearest(code, known)} Write "
            "that file, or correct the code."
        )
    language = read_document(file)
    validate(language, "language")
    settings = {
        **DEFAULTS,
        **content,
        "source": {**SOURCE, **content["source"]},
        "contamination": {**CONTAMINATION, **content.get("contamination", {})},
    }
    return Corpus(name, settings, language.content.get("stop_words", []), document)


class Corpora:
    """The corpora of a run: those that it names, in its order, and those that its trainings read."""

    def __init__(self, config: Config, models: Models, recipes: Recipes) -> None:
        """Read their files.

        Raises:
            UserError: a file is missing or wrong, a budget is in the tokens of a backbone that the
                run does not have, a training is to be measured on a held-out part that there is
                not, or a backbone does not say how a document ends.
        """
        self.config = config
        self.recipes = recipes
        self.sources, self.layout = recipes.sources, recipes.layout
        self.by_name: dict[str, Corpus] = {}
        faults = Faults()
        named = {name: config.at(["corpora"]) for name in config.run["corpora"]}
        trained = [model for model in models.reference_models if self.sources.is_trained(model)]
        for model in trained:
            for name in self.read_by(model):
                named.setdefault(name, self.place(model))
        for name, place in named.items():
            with faults.kept():
                self.by_name[name] = read_corpus(name, config.folders, place)
        self.backbones = [name for name in config.backbones if "document_end" in config.backbone(name)]
        """Those whose tokenizers the corpora are tokenised with."""
        for model in trained:
            faults.add(*self.faults_of(model))
        if config.run["corpora"] and not self.backbones:
            faults.add(
                f"{config.at(['corpora'])}: no backbone of the run has `document_end`, the token that ends a document. "
                f"Add it, for instance to {config.where('backbone', config.backbones[0])}."
            )
        for corpus in self:
            counted = self.budget_tokenizer(corpus)
            if self.backbones and counted not in (None, *self.backbones):
                faults.add(
                    f"{corpus.document.at(['budget', 'tokenizer'])}: {counted!r} is no backbone of the run with "
                    f"`document_end`. Those are: {', '.join(self.backbones)}."
                )
        faults.refuse()

    def __iter__(self) -> Iterator[Corpus]:
        return iter(self.by_name.values())

    def place(self, model: Model) -> str:
        """How messages call the recipe of a training."""
        extra = model.target if model.method == EXTRA else ()
        return self.config.place("backbone", model.backbone, "models", model.method, *extra, "train")

    def read_by(self, model: Model) -> list[str]:
        """The corpora that a training reads."""
        names = [*self.recipes.corpora(model), *self.recipes.held_out(model).values()]
        return [name for name in dict.fromkeys(names) if is_corpus(name)]

    def faults_of(self, model: Model) -> Iterator[str]:
        """What is wrong with the corpora of a training."""
        names, place = self.read_by(model), self.place(model)
        if names and model.backbone not in self.backbones:
            yield (
                f"{place}: {names[0]} is a corpus, whose documents need an end. Add `document_end` to "
                f"{self.config.where('backbone', model.backbone)}."
            )
        for name in self.recipes.held_out(model).values():
            corpus = self.by_name.get(name)
            if corpus and not corpus.settings["held_out"]:
                yield (
                    f"{place}.held_out: {name} has no held-out part. Say in {corpus.where} how many documents it has: `held_out: 500`."
                )

    def patterns(self, hub: str, revision: str) -> set[str]:
        """The files of a data set that the corpora need."""
        wanted = [corpus.repository for corpus in self if corpus.repository]
        same = [entry for entry in wanted if (entry["hub"], entry.get("revision", "main")) == (hub, revision)]
        return {pattern for entry in same for pattern in entry["files"]}

    def tokenizer(self, backbone: str) -> Path:
        """The folder of a backbone's tokenizer: its own, or that of its base or instruct model."""
        if "tokenizer" in self.config.backbone(backbone):
            return self.layout.tokenizer(backbone)
        return self.layout.model(self.tokenizer_model(backbone))

    def tokenizer_model(self, backbone: str) -> Model:
        """The model whose tokenizer a backbone without one of its own has."""
        return Model(backbone, "base" if self.sources.has(backbone, "base") else "instruct")

    def document_end(self, backbone: str) -> str:
        return self.config.backbone(backbone)["document_end"]

    def budget_tokenizer(self, corpus: Corpus) -> str | None:
        """The backbone whose tokens a corpus's budget counts, if it counts tokens."""
        return corpus.settings["budget"].get("tokenizer")

    def counts(self) -> list[Counts]:
        """The files that Table 1 is made from."""
        return [
            Counts(
                corpus.name,
                corpus.language,
                self.layout.corpus_step(corpus.name, "selected"),
                self.layout.corpus_step(corpus.name, "searched"),
                {name: self.layout.tokens(corpus.name, name) for name in self.backbones},
            )
            for corpus in self
        ]
