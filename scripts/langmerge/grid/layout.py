"""Every path of a run: for the rules, for the commands, and for what is said of them.

Each method takes strings, so that a rule gets its pattern by giving wildcards:
`layout.result("{backbone}/...", "{shard}", ...)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from langmerge.grid.config import Config
from langmerge.grid.sources import Sources
from langmerge.model import Model

CORPUS_FILES = (".jsonl", ".jsonl.gz")
"""How the name of a training file of the user's own ends; other names are generated text, such as
`eu/corpus`, or corpora (`is_corpus`).
"""

CELL = "{backbone}/{method}/{target}/w{weight}"
"""A model's id as a pattern."""


def is_corpus(name: str) -> bool:
    """Whether a training text is a corpus: the name of a file in config/corpora."""
    return "/" not in name and not name.endswith(CORPUS_FILES)


@dataclass(frozen=True)
class Layout:
    """The paths of one run.

    Attributes:
        root: results/<run>.
        keep: ids of the cells whose checkpoints the run keeps.
        part: where the run is a part of a larger one, the folder of its scores, tables and figures.
        cache: the folder that models and data sets of a hub are fetched into.
    """

    root: Path
    cache: Path
    sources: Sources
    keep: frozenset[str] = frozenset()
    part: str = ""

    @classmethod
    def of(cls, config: Config, sources: Sources) -> Layout:
        root, cache = Path(config.run["results"]) / config.run["run"], Path(config.run["cache"])
        return cls(root, cache, sources, frozenset(config.run["keep"]), config.run["part"])

    # ---- data

    def corpus(self, language: str) -> dict[str, Path]:
        """What `langmerge world` makes: training text, instructions, and the folder of tasks."""
        folder = self.root / "data" / language
        return {
            "corpus": folder / "corpus.jsonl",
            "instructions": folder / "instructions.jsonl",
            "tasks": folder / "tasks",
        }

    def training_file(self, name: str) -> Path:
        """The file of a text that a recipe names: `eu/corpus`, or the path of the user's own file."""
        return Path(name) if name.endswith(CORPUS_FILES) else self.root / "data" / f"{name}.jsonl"

    def corpus_step(self, corpus: str, step: str) -> Path:
        """The folder of a corpus's clean, selected or searched text."""
        return self.root / "corpora" / corpus / step

    def tokens(self, corpus: str, backbone: str) -> Path:
        """The folder of a corpus's tokens: train/ and held_out/, each with shards and meta.json."""
        return self.root / "corpora" / corpus / "tokens" / backbone

    @property
    def benchmark_items(self) -> Path:
        """The texts of everything that the run evaluates."""
        return self.root / "benchmark_items.jsonl"

    # ---- models

    def made(self, id: str) -> Path:
        """The folder of a model that this run trains or merges."""
        return self.root / "models" / id

    def trained(self, id: str) -> Path:
        """An empty file: a model's training in several processes is finished and not exported."""
        return self.root / "trained" / id

    def model(self, model: Model) -> Path:
        """The folder of a model; where it is an adapter, both folders as recipes name them:
        model+adapter.
        """
        return Path("+".join(map(str, self.folders(model))))

    def folders(self, model: Model) -> list[Path]:
        """The folder of a model; where it is an adapter, first that of the model that it belongs
        to.
        """
        base = self.sources.adapted_model(model)
        return [*(self.folders(base) if base else []), self.own_folder(model)]

    def own_folder(self, model: Model) -> Path:
        """The folder of a model or an adapter: in this run, in the cache, or where the backbone's
        file says.
        """
        if model.id in self.keep:
            return self.kept(model.id)
        if same := self.sources.same(model):
            return self.kept(same.id) if same.is_merge else self.own_folder(same)
        source = {} if model.is_merge else self.sources.of(model)
        if "hub" in source:
            return self.fetched("models", source["hub"], source.get("revision", "main"))
        return Path(source["path"]) if "path" in source else self.made(model.id)

    def kept(self, id: str) -> Path:
        """The folder of a merged checkpoint that the run keeps."""
        return self.root / "kept" / id

    def published(self, id: str) -> Path:
        """The folder that `langmerge publish` writes a cell's model into. No rule makes or removes
        it.
        """
        return self.root / "published" / id

    def fetched(self, kind: str, hub: str, revision: str) -> Path:
        """The folder that a repository of the hub is fetched into; `kind` is models or datasets."""
        return fetched(self.cache, kind, hub, revision)

    def tokenizer(self, backbone: str) -> Path:
        return self.root / "models" / backbone / "tokenizer"

    def anatomy(self, id: str) -> Path:
        """The file that a merge is examined into."""
        return self.root / "anatomy" / f"{id}.parquet"

    def recipe(self, id: str) -> Path:
        """A cell's recipe, in mergekit's YAML."""
        return self.root / "recipes" / f"{id}.yaml"

    def merge_record(self, id: str) -> Path:
        """What is kept of a merge in memory: its sources, and the SHA-256 of what it would write."""
        return self.root / "recipes" / f"{id}.json"

    # ---- evaluation jobs

    @property
    def batches(self) -> Path:
        return self.root / "batches"

    def batch(self, backbone: str, name: str) -> Path:
        """What an evaluation job does, see live/batch.py."""
        return self.batches / backbone / f"{name}.json"

    def batch_checked(self, backbone: str, name: str) -> Path:
        """The mark of a job whose recipes are checked and written."""
        return self.batches / backbone / f"{name}.checked"

    def batch_done(self, backbone: str, name: str) -> Path:
        """The mark of an evaluation job that is done."""
        return self.batches / backbone / f"{name}.done"

    # ---- results

    def result(self, id: str, shard: str, fingerprint: str) -> Path:
        """The sealed result of one shard of one model."""
        return self.root / "scores" / id / f"{shard}.{fingerprint}.json"

    def parts(self, id: str) -> Path:
        """The folder of the finished tasks of a model, from which an evaluation resumes."""
        return self.root / "scores" / id / "tasks"

    def samples(self, id: str) -> Path:
        """The folder of a model's prompts and answers."""
        return self.root / "samples" / id

    def search(self, backbone: str, method: str, target: str, fingerprint: str) -> Path:
        """The sealed record of a search: what it knows of each cell, and which it has found."""
        return self.root / "searches" / backbone / method / f"{target}.{fingerprint}.json"

    @property
    def scores(self) -> Path:
        return self.finished(False) / "scores.csv"

    def report(self, kind: str, name: str, preview: bool = False) -> Path:
        """A report's path without ending; `kind` is table, figure or page."""
        return report_in(self.finished(preview), kind, name)

    @property
    def votes(self) -> Path:
        """The folder of the pages for blind votes."""
        return self.root / "votes"

    def votes_key(self, name: str) -> Path:
        """What tells whose answers a page for blind votes shows."""
        return self.votes / f"{name}.key.json"

    @property
    def win_rates(self) -> Path:
        """What `langmerge votes collect` has made of the votes."""
        return self.votes / "win_rates.json"

    @property
    def replay(self) -> Path:
        """The folder of what `langmerge replay` writes."""
        return self.root / "replay"

    def finished(self, preview: bool) -> Path:
        """The folder of scores.csv, tables and figures: of the whole run, or of what is finished so
        far.
        """
        if preview:
            return self.root / "preview"
        return self.root / "part" / self.part if self.part else self.root

    @property
    def outdated(self) -> Path:
        """The folder of tables and figures that the run does not name any more."""
        return self.root / "outdated"

    @property
    def manifest(self) -> Path:
        """What `langmerge prefetch` has fetched."""
        return self.root / "manifest.json"

    # ---- records of jobs

    def log(self, rule: str, name: str = "") -> Path:
        """A job's log."""
        return self.root / "logs" / (f"{rule}/{name}.log" if name else f"{rule}.log")

    def benchmark(self, rule: str, name: str) -> Path:
        """Where Snakemake writes how long a job took."""
        return self.root / "benchmarks" / rule / f"{name}.tsv"

    def benchmarks(self, rule: str, backbone: str = "") -> Path:
        """The folder of those files."""
        return self.root / "benchmarks" / rule / backbone


def report_in(folder: Path, kind: str, name: str) -> Path:
    """`Layout.report` in another folder, for previews."""
    return folder / name if kind == "page" else folder / f"{kind}s" / name


def fetched(cache: Path, kind: str, hub: str, revision: str) -> Path:
    """`Layout.fetched` of a cache, for commands without a run."""
    return cache / kind / f"{hub.replace('/', '--')}@{revision}"


def job_name(id: str, *more: str) -> str:
    """How the log and the benchmark of a model's job are called:
    mini/linear-eu-w0.5[-eu-<fingerprint>].
    """
    backbone, *rest = id.split("/")
    return f"{backbone}/{'-'.join([*rest, *more])}"
