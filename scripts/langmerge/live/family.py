"""Evaluating the models of a batch, one after another, in one process.

Cells that share a backbone's models are merged in the memory of one engine. Before its answers
count, the first merge is compared with what `langmerge merge` writes.
"""

from __future__ import annotations

import hashlib
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from langmerge.errors import UserError
from langmerge.evaluation import backends
from langmerge.evaluation.engines.lm import EngineLM
from langmerge.evaluation.harness import Evaluation
from langmerge.evaluation.lookup import Lookup
from langmerge.evaluation.modelfiles import check_model
from langmerge.evaluation.sealed import read_sealed, write_sealed
from langmerge.files import write_bytes
from langmerge.live.batch import BatchFile, BatchModel
from langmerge.live.names import CHECK
from langmerge.live.weights import CellWeights
from langmerge.merging.sources import split_adapter


class Differs(Exception):
    """A merge in memory is not what `langmerge merge` writes: no answer of this job can be trusted."""


class Family:
    """The evaluation of a batch.

    Attributes:
        file: the batch's.
        loaded: the engine that cells are merged in, and the folder that it has loaded.
        current: the cell whose weights it has.
        compared: whether a merge of this job has been compared.
    """

    def __init__(self, file: Path, threads: int) -> None:
        """Read a batch.

        Args:
            threads: how many cores a merge uses.
        """
        self.file, self.threads = file, threads
        self.batch = BatchFile.read(file)
        self.loaded: tuple[Path, EngineLM] | None = None
        self.current: str | None = None
        self.compared = False

    def run(self) -> None:
        """Evaluate what is not yet done.

        Raises:
            UserError: a model failed; the others are done. The message names each.
        """
        failed = {}
        if self.batch.searches:
            # Imported late: scipy's and scikit-learn's statistics take a second.
            from langmerge.live.search import search

            kind, work = "searches", {one.name: partial(search, self, one) for one in self.batch.searches}
        else:
            kind, work = "models", {model.id: partial(self.evaluate, model) for model in self.batch.models}
        for number, (name, do) in enumerate(work.items(), start=1):
            print(f"{number} of {len(work)}: {name}", file=sys.stderr)
            try:
                do()
            except UserError as error:
                failed[name] = str(error)
            except Differs as error:
                raise UserError(str(error)) from None
        if self.loaded:
            self.loaded[1].engine.close()
        if failed:
            details = "\n  ".join(f"{name}: {error}" for name, error in failed.items())
            raise UserError(f"{len(failed)} of {len(work)} {kind} failed:\n  {details}")

    def evaluate(self, model: BatchModel) -> None:
        """Write those of a model's results that are not there.

        Raises:
            UserError: the model cannot be loaded or merged; or tasks failed, after all others.
        """
        if not model.making:
            check_model(Path(model.folder), None if model.given else model.key)
        errors = []
        for wanted in model.results:
            if Path(wanted.path).exists():
                continue
            evaluation = self.evaluation(model, self.batch.questions[wanted.question])
            try:
                evaluation.run(Path(wanted.path), {"cell": model.columns})
            except UserError as error:
                if model.making and self.current != model.id:  # it cannot be merged
                    raise
                errors.append(str(error))
        if errors:
            raise UserError("\n  ".join(errors))
        if model.making and not Path(model.making.anatomy).exists():
            self.merged(model)

    def evaluation(self, model: BatchModel, question: dict[str, Any]) -> Evaluation:
        parts = Path(model.parts)
        in_memory = {"loaded": lambda: self.merged(model), "record": lambda: self.record(model)}
        return Evaluation(
            model=Path(model.id if model.making else model.folder),
            tasks=question["tasks"],
            lookup=Lookup([*map(Path, question["include"])], question["datasets"], verdicts=parts),
            parts=parts,
            samples=Path(model.samples),
            key=model.key,
            chat_template=model.chat_template,
            backend=self.batch.backend,
            **(in_memory if model.making else {}),
        )

    # ---- merging in memory

    def merged(self, model: BatchModel) -> EngineLM:
        """The engine with a cell's weights.

        Raises:
            UserError: the models do not fit each other, or a merged weight is not finite.
            Differs: the merge in memory is not what `langmerge merge` writes.
        """
        making = model.making
        lm = self.engine(making.recipe)
        if self.current == model.id:
            return lm
        self.current = None
        weights = CellWeights(making.recipe, making.seed, model.key, self.threads, making.anatomy_base)
        found = lm.engine.take(weights)
        if not self.compared:
            self.compare(model.id, weights, found["sha256"])
        write_bytes(Path(making.anatomy), found["anatomy"])
        kept = {"key": model.key, "model": found["record"], "merged_sha256": found["sha256"]}
        write_sealed(Path(making.record), kept)
        self.current = model.id
        return lm

    def engine(self, recipe: dict[str, Any]) -> EngineLM:
        """The engine for a recipe: its tokenizer_source, without an adapter, is loaded once, in the
        type that is merged.
        """
        folder, _ = split_adapter(Path(recipe["tokenizer_source"]))
        if self.loaded and self.loaded[0] != folder:
            self.loaded[1].engine.close()
            self.loaded = None
        if not self.loaded:
            given = self.batch.backend
            dtype = recipe["out_dtype"] if given.get("dtype", "auto") == "auto" else given["dtype"]
            self.loaded = folder, backends.load(folder, {**given, "dtype": dtype})
        return self.loaded[1]

    def compare(self, name: str, weights: CellWeights, digests: dict[str, str]) -> None:
        """Write a cell as `langmerge merge` does, into a folder that is removed, and compare.

        Raises:
            Differs: the files have other bytes.
        """
        with TemporaryDirectory(prefix=CHECK, dir=self.file.parent) as temporary:
            folder = Path(temporary, "model")
            weights.open().write(folder, self.threads, page_cache=True)
            written = {}
            for path in sorted(folder.glob("*.safetensors")):
                with path.open("rb") as file:
                    written[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        if written != digests:
            raise Differs(
                f"{name}: merged in memory, its files would have the SHA-256 {digests}; `langmerge merge` wrote {written}. Set "
                "`merges: disk` in the run, and report this."
            )
        self.compared = True

    def record(self, model: BatchModel) -> dict[str, Any]:
        """What a cell's result says of its making: `model`, as langmerge.json would, and
        `merged_sha256`, of the files that a checkpoint would have.
        """
        path = Path(model.making.record)
        if not path.is_file() or read_sealed(path)["key"] != model.key:
            self.merged(model)
        kept = read_sealed(path)
        return {name: kept[name] for name in ("model", "merged_sha256")}
