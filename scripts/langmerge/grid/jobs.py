"""Every job of a run, as the rules make them: for `langmerge plan` and `langmerge status`.

workflow/rules says how a job is done; this says which there are, and tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from langmerge.grid.config import Config
from langmerge.grid.layout import Layout, job_name
from langmerge.grid.models import Models
from langmerge.grid.recipes import Recipes
from langmerge.grid.reports import Report, Reports
from langmerge.grid.resources import processes
from langmerge.grid.results import Result, Results
from langmerge.model import Model


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        rule: its rule's name.
        name: of its log and of its benchmark file, without ending; empty for a rule that has one
            job.
        inputs, outputs: paths.
        model: the model that it makes or evaluates, if any; result: what an evaluation makes.
    """

    rule: str
    name: str
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]
    model: Model | None = None
    result: Result | None = None

    @property
    def backbone(self) -> str:
        """The backbone that it is a job of; empty for others."""
        if self.model:
            return self.model.backbone
        return self.name if self.rule == "tokenizer" else ""


STAGES = ("fetch", "corpus", "tokenizer", "train", "train_ranks", "export", "merge", "evaluate")
"""The rules that make what results are made from, and results, in the order of the data's flow."""


class Jobs:
    """The jobs of a run, finished or not."""

    def __init__(
        self, config: Config, models: Models, recipes: Recipes, results: Results, reports: Reports, layout: Layout
    ) -> None:
        self.config = config
        self.models = models
        self.recipes = recipes
        self.results = results
        self.reports = reports
        self.layout = layout

    def __iter__(self) -> Iterator[Job]:
        """All of them, in the order of the stages."""
        made = [*self.tokenizers(), *self.trainings(), *self.merges(), *self.evaluations()]
        yield from self.fetches()
        yield from self.corpora({path for job in made for path in job.inputs})
        yield from made
        yield from self.summaries()

    def fetches(self) -> Iterator[Job]:
        for repository in self.results.hub.repositories:
            folder = Path(repository["folder"])
            yield Job("fetch", f"{repository['kind']}/{folder.name}", (), (folder,))

    def corpora(self, needed: set[Path]) -> Iterator[Job]:
        """The generated data of each language of which something is needed."""
        data = self.layout.root / "data"
        codes = {path.relative_to(data).parts[0] for path in needed if path.is_relative_to(data)}
        for code in sorted(codes):
            yield Job("corpus", code, (), tuple(self.layout.corpus(code).values()))

    def tokenizers(self) -> Iterator[Job]:
        for name in self.config.backbones:
            if "tokenizer" in self.config.backbone(name):
                yield self.tokenizer(name)

    def tokenizer(self, backbone: str) -> Job:
        """The job that makes a backbone's tokenizer."""
        corpora = tuple(map(Path, self.recipes.tokenizer_corpora(backbone)))
        return Job("tokenizer", backbone, corpora, (self.layout.tokenizer(backbone),))

    def trainings(self) -> Iterator[Job]:
        for model in self.models.reference_models:
            if self.recipes.sources.is_trained(model):
                yield self.training(model)
                if self.in_ranks(model):
                    yield self.exporting(model)

    def training(self, model: Model) -> Job:
        """The job that trains a model."""
        recipe = self.recipes.train(model)
        texts = dict.fromkeys([*recipe["data"], *recipe.get("held_out", {}).values()])
        inputs = (*map(Path, texts), Path(recipe.get("from") or recipe["tokenizer"]))
        if self.in_ranks(model):
            return Job("train_ranks", job_name(model.id), inputs, (self.layout.trained(model.id),), model)
        return Job("train", job_name(model.id), inputs, (self.layout.model(model),), model)

    def in_ranks(self, model: Model) -> bool:
        """Whether a model is trained in several processes, and exported by a job of its own."""
        return processes(self.config, model.backbone) > 1

    def exporting(self, model: Model) -> Job:
        """The job that writes the model of a training in several processes."""
        name = job_name(model.id)
        return Job("export", name, (self.layout.trained(model.id),), (self.layout.model(model),), model)

    def merges(self) -> Iterator[Job]:
        yield from map(self.merging, self.models.merges)

    def merging(self, model: Model) -> Job:
        """The job that merges a cell."""
        inputs = tuple(map(self.layout.model, self.recipes.read_by(model)))
        outputs = (self.layout.model(model), self.layout.anatomy(model.id))
        return Job("merge", job_name(model.id), inputs, outputs, model)

    def evaluations(self) -> Iterator[Job]:
        for result in self.results:
            name = job_name(result.model.id, result.shard, result.fingerprint)
            yield Job("evaluate", name, self.results.reads(result), (result.path,), result.model, result)

    def summaries(self) -> Iterator[Job]:
        """Scores, tables and figures: what `rule all` asks for, besides the results."""
        results = tuple(result.path for result in self.results)
        yield Job("collect", "", results, (self.layout.scores,))
        for report in self.reports.by_name.values():
            yield Job(report.rule, report.name, self.read_by(report, results), self.files(report))

    def read_by(self, report: Report, results: tuple[Path, ...]) -> tuple[Path, ...]:
        """What a table or a figure is made from."""
        if report.layout.reads == "anatomies":
            return tuple(self.layout.anatomy(model.id) for model in self.models.merges)
        published = self.config.published if report.layout.made == "published" else []
        return results if report.layout.reads == "answers" else (self.layout.scores, *published)

    def files(self, report: Report, preview: bool = False) -> tuple[Path, ...]:
        """What a table or a figure is written to."""
        stem = self.layout.report(report.layout.kind, report.name, preview)
        return tuple(stem.with_name(f"{stem.name}.{ending}") for ending in report.layout.formats)

    def drawn(self, kind: str, preview: bool = False) -> list[Path]:
        """The files of all tables or figures; of a preview, of those that are made from scores
        alone.
        """
        reports = [report for report in self.reports.by_name.values() if report.layout.kind == kind]
        return [path for report in reports if not preview or report.in_preview for path in self.files(report, preview)]
