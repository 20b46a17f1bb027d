"""What the names of results depend on: everything that determines a number, by content and not by
path.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.evaluation.modelfiles import files_key
from langmerge.files import sha256
from langmerge.grid.config import Config
from langmerge.grid.corpora import Corpora
from langmerge.grid.data import GeneratedData
from langmerge.grid.digest import digest
from langmerge.grid.layout import CORPUS_FILES, is_corpus
from langmerge.grid.recipes import Recipes
from langmerge.grid.tasks import Tasks, kind
from langmerge.model import Model
from langmerge.semantics import SEMANTICS
from langmerge.training.recipe import deciding
from langmerge.weights import ADAPTER, ADAPTER_CONFIG, weight_files


class Identity:
    """Hashes that identify the models and results of a run."""

    def __init__(self, config: Config, data: GeneratedData, recipes: Recipes, tasks: Tasks, corpora: Corpora) -> None:
        self.config = config
        self.data = data
        self.recipes = recipes
        self.tasks = tasks
        self.corpora = corpora
        self.model_key = cache(self._model_key)
        self.fingerprint = cache(self._fingerprint)
        self.folder_key = cache(folder_key)

    def _model_key(self, model: Model) -> str:
        """Hash of all that determines a model's weights: its recipe and, in place of paths, its
        parents' keys.

        Raises:
            UserError: a folder or a corpus of the user's own is not there.
        """
        if model.is_merge:
            return digest(
                {"merge": SEMANTICS["merge"], "recipe": self.merge_recipe(model), "seed": self.config.run["seed"]}
            )
        if same := self.recipes.sources.same(model):
            return self.model_key(same)
        adapted = self.recipes.sources.adapted_model(model)
        if adapted is None:
            return self.source_key(model)
        return digest(
            {
                "merge": SEMANTICS["merge"],
                "adapter": self.source_key(model),
                "model": self.model_key(adapted),
                "dtype": self.config.backbone(model.backbone)["dtype"],
            }
        )

    def source_key(self, model: Model) -> str:
        """Identity of a reference model's own folder."""
        source = self.recipes.sources.of(model)
        if "hub" in source:
            return digest({"hub": source["hub"], "revision": source.get("revision", "main")})
        if "path" in source:
            where = self.config.place("backbone", model.backbone, "models", model.method, "path")
            return digest(
                {
                    "files": self.folder_key(Path(source["path"]), where, "base" in source),
                    "revision": source.get("revision"),
                }
            )
        settings = {key: value for key, value in deciding(source["train"]).items() if key != "data"}
        where = self.config.place("backbone", model.backbone, "models", model.method, "train", "data")
        return digest(
            {
                "train": SEMANTICS["train"],
                "settings": settings,
                "seed": self.config.run["seed"],
                "data": {
                    name: [
                        share,
                        self.tokens_key(name, model.backbone) if is_corpus(name) else self.text_key(name, where),
                    ]
                    for name, share in self.recipes.corpora(model).items()
                },
                "parents": [self.model_key(parent) for parent in self.recipes.parents(model)],
                "tokenizer": self.tokenizer_key(model.backbone) if "init" in settings else None,
            }
        )

    def merge_recipe(self, model: Model) -> dict[str, Any]:
        """A merge's recipe with its parents' keys in place of their folders."""
        keys = {
            str(self.recipes.layout.model(parent)): self.model_key(parent) for parent in self.recipes.parents(model)
        }

        def without_paths(part: dict[str, Any]) -> dict[str, Any]:
            return {key: keys.get(value, value) if isinstance(value, str) else value for key, value in part.items()}

        return json.loads(json.dumps(self.recipes.merge(model)), object_hook=without_paths)

    def tokenizer_key(self, backbone: str) -> dict[str, Any]:
        """What the tokenizer of a backbone that is trained from scratch depends on."""
        settings = self.config.backbone(backbone)["tokenizer"]
        where = self.config.place("backbone", backbone, "tokenizer", "corpora")
        return {**settings, "corpora": [self.text_key(name, where) for name in settings["corpora"]]}

    def tokens_key(self, name: str, backbone: str) -> str:
        """Identity of a corpus's tokens: of its clean text, of what is taken of it, and of the
        tokenizer. Where a document that holds items of the benchmarks is dropped, what the run
        evaluates decides too.
        """
        corpus = self.corpora.by_name[name]
        counted = self.corpora.budget_tokenizer(corpus)
        evaluated = [[entry, self.tasks.folders_of(entry)] for entry in self.tasks.evaluated] if corpus.drops else None
        return digest(
            {
                "clean": corpus.clean_key,
                "selection": corpus.selection,
                "counted": self.tokenising_key(counted) if counted else None,
                "contamination": [corpus.settings["contamination"], evaluated] if corpus.drops else None,
                "tokens": self.tokenising_key(backbone),
            }
        )

    def tokenising_key(self, backbone: str) -> list[Any]:
        """Identity of a backbone's tokenizer, and of the token that it puts behind a document."""
        end = self.corpora.document_end(backbone)
        if "tokenizer" in self.config.backbone(backbone):
            return [self.tokenizer_key(backbone), end]
        return [self.model_key(self.corpora.tokenizer_model(backbone)), end]

    def text_key(self, name: str, where: str) -> str:
        """Identity of a training text: of a language's generated data, or the content of a file of
        the user's own.

        Raises:
            UserError: there is no such file; `where` is how the message calls the key that names
                it.
        """
        if not name.endswith(CORPUS_FILES):
            return self.data.key(name.split("/")[0])
        if not Path(name).is_file():
            raise UserError(
                f"{where}: {name}: no such file. Write it, or correct the path; it starts at the "
                "folder that langmerge is called in."
            )
        return sha256(Path(name))

    def _fingerprint(self, model: Model, shard: str) -> str:
        """Twelve hex digits of a hash of all that determines a shard's result."""
        return digest(
            {
                "model": self.model_key(model),
                "chat": self.tasks.chat_template(model),
                "units": self.tasks.fingerprints(model.backbone, kind(model), self.tasks.shards(model)[shard]),
            }
        )


def folder_key(folder: Path, where: str, is_adapter: bool) -> str:
    """Hash of the files of a model's or an adapter's folder that determine its answers.

    Other files, and dates, do not matter. A file is read once per machine, as long as it does not
    change.

    Args:
        where: how messages call the key that names the folder.

    Raises:
        UserError: there is no such folder, or it holds no weights, or two sets of them.
    """
    check_folder(folder, where, is_adapter)
    return files_key(folder, [folder / ADAPTER, folder / ADAPTER_CONFIG] if is_adapter else None)


def check_folder(folder: Path, where: str, is_adapter: bool) -> None:
    """Refuse what is no folder of a model, or of an adapter; see `folder_key`."""
    if folder.is_file():
        raise UserError(f"{where}: {folder} is a file. Give the folder of a model in Hugging Face format.")
    if not folder.is_dir():
        raise UserError(f"{where}: {folder}: no such folder. Give the folder of a model in Hugging Face format.")
    if not is_adapter:
        weight_files(folder)  # merging reads safetensors only
    for name in (ADAPTER, ADAPTER_CONFIG) if is_adapter else ():
        if not (folder / name).is_file():
            raise UserError(
                f"{where}: {folder} holds no {name}. With `base`, give the folder of a LoRA adapter, as PEFT saves it."
            )
