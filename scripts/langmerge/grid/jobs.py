"""Every job of a run, as the rules make them: for `langmerge plan` and `langmerge status`.

workflow/rules says how a job is done; this says which there are, and tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from langmerge.grid.batches import Batches
from langmerge.grid.config import Config
from langmerge.grid.corpora import Corpora
from langmerge.grid.layout import Layout, is_corpus, job_name
from langmerge.grid.models import Models
from langmerge.grid.recipes import Recipes
from langmerge.grid.reports import Report, Reports
from langmerge.grid.resources import processes
from langmerge.grid.results import Result, Results
from langmerge.grid.searches import Pool, Searches
from langmerge.model import Model
from langmerge.reporting.layouts import FIGURE_FORMATS, RESERVED, TABLE_FORMATS


@dataclass(frozen=True, eq=False)
class Job:
    """One job.

    Attributes:
        rule: its rule's name.
        name: of its log and of its benchmark file, without ending; empty for a rule that has one
            job.
        inputs, outputs: paths.
        model: the model that it makes or evaluates, if it is one.
        results: what an evaluation makes; of a search, what the evaluations of all cells would
            make.
        share: how much of that it does at most: a search's budget.
    """

    rule: str
    name: str
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]
    model: Model | None = None
    results: tuple[Result, ...] = ()
    share: float = 1.0

    @property
    def backbone(self) -> str:
        """The backbone that it is a job of; empty for others."""
        if self.model:
            return self.model.backbone
        return self.name.split("/")[0] if self.rule in ("tokenizer", "recipes", "evaluate", "search") else ""


TEXT_STAGES = ("clean", "select", "items", "contamination", "tokenise")
"""The rules that make tokenised corpora from text, in the order of the data's flow."""

STAGES = (
    *("fetch", "corpus", "tokenizer", *TEXT_STAGES),
    *("train", "train_ranks", "export", "keep", "merge", "evaluate", "search"),
)
"""The rules that make what results are made from, and results, in the order of the data's flow."""


class Jobs:
    """The jobs of a run, finished or not."""

    def __init__(
        self,
        config: Config,
        models: Models,
        recipes: Recipes,
        results: Results,
        searches: Searches,
        texts: Corpora,
        batches: Batches,
        reports: Reports,
        layout: Layout,
    ) -> None:
        self.config = config
        self.models = models
        self.recipes = recipes
        self.results = results
        self.searches = searches
        self.texts = texts
        self.batches = batches
        self.reports = reports
        self.layout = layout

    def __iter__(self) -> Iterator[Job]:
        """All of them, in the order of the stages; of evaluations those that are to be done."""
        made = [
            *self.tokenizers(),
            *self.tokenised(),
            *self.trainings(),
            *self.kept(),
            *self.merges(),
            *self.evaluations(),
        ]
        yield from self.before(made)
        yield from made
        yield from self.summaries()

    def by_result(self) -> Iterator[Job]:
        """All jobs up to the results, with one evaluation for each result and a job for each
        search, finished or not.
        """
        made = [
            *self.tokenizers(),
            *self.tokenised(),
            *self.trainings(),
            *self.kept(),
            *self.merges(),
            *map(self.asking, self.results),
            *map(self.search, self.searches),
        ]
        yield from self.before(made)
        yield from made

    def before(self, made: Sequence[Job]) -> Iterator[Job]:
        """The jobs that make what others begin with."""
        yield from self.fetches()
        yield from self.corpora({path for job in made for path in job.inputs})

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

    def tokenised(self) -> Iterator[Job]:
        """From text to tokens: for each corpus, and for each backbone whose tokenizer it gets."""
        for corpus in self.texts:
            yield from map(self.text_step, (corpus.name,) * 3, ("clean", "select", "contamination"))
            for backbone in self.texts.backbones:
                yield self.tokenising(corpus.name, backbone)
        if self.texts.by_name:
            yield self.items()

    def text_step(self, name: str, rule: str) -> Job:
        """The job that cleans, selects or searches a corpus."""
        corpus, layout = self.texts.by_name[name], self.layout
        clean, selected, searched = (layout.corpus_step(name, step) for step in ("clean", "selected", "searched"))
        folder = corpus.folder(layout.cache)
        counted = self.texts.budget_tokenizer(corpus)
        reads = {
            "clean": (folder,) if folder else (),
            "select": (clean, *((self.texts.tokenizer(counted),) if counted else ())),
            "contamination": (selected, layout.benchmark_items),
        }
        makes = {"clean": clean, "select": selected, "contamination": searched}
        return Job(rule, name, reads[rule], (makes[rule],))

    def tokenising(self, corpus: str, backbone: str) -> Job:
        """The job that tokenises a corpus with a backbone's tokenizer."""
        steps = ("selected", "searched") if self.texts.by_name[corpus].drops else ("selected",)
        inputs = (*(self.layout.corpus_step(corpus, step) for step in steps), self.texts.tokenizer(backbone))
        return Job("tokenise", f"{corpus}/{backbone}", inputs, (self.layout.tokens(corpus, backbone),))

    def counted(self) -> tuple[Path, ...]:
        """The folders that Table 1 is made from."""
        rules = ("select", "contamination", "tokenise")
        return tuple(path for job in self.tokenised() if job.rule in rules for path in job.outputs)

    def items(self) -> Job:
        """The job that writes what the run evaluates."""
        tasks = self.results.tasks
        inputs = (*tasks.generated(tasks.evaluated), *tasks.datasets(tasks.evaluated).values())
        return Job("items", "", inputs, (self.layout.benchmark_items,))

    def trainings(self) -> Iterator[Job]:
        for model in self.models.reference_models:
            if self.recipes.sources.is_trained(model):
                yield self.training(model)
                if self.in_ranks(model):
                    yield self.exporting(model)

    def training(self, model: Model) -> Job:
        """The job that trains a model."""
        recipe = self.recipes.train(model)
        names = dict.fromkeys([*self.recipes.corpora(model), *self.recipes.held_out(model).values()])
        texts = (
            self.layout.tokens(name, model.backbone) if is_corpus(name) else self.layout.training_file(name)
            for name in names
        )
        inputs = (*texts, Path(recipe.get("from") or recipe["tokenizer"]))
        if self.in_ranks(model):
            return Job("train_ranks", job_name(model.id), inputs, (self.layout.trained(model.id),), model)
        return Job("train", job_name(model.id), inputs, (self.layout.made(model.id),), model)

    def in_ranks(self, model: Model) -> bool:
        """Whether a model is trained in several processes, and exported by a job of its own."""
        return processes(self.config, model.backbone) > 1

    def exporting(self, model: Model) -> Job:
        """The job that writes the model of a training in several processes."""
        name = job_name(model.id)
        return Job("export", name, (self.layout.trained(model.id),), (self.layout.made(model.id),), model)

    def kept(self) -> Iterator[Job]:
        """The merges whose checkpoints stay: the run keeps them, or a backbone has them as its
        models.
        """
        same = filter(None, map(self.recipes.sources.same, self.models.reference_models))
        for id in dict.fromkeys([*self.config.run["keep"], *(model.id for model in same if model.is_merge)]):
            yield self.merging(self.models.by_id[id], "keep")

    def merges(self) -> Iterator[Job]:
        """The merges whose checkpoints are written, evaluated and deleted."""
        for model in self.models.merges:
            if not self.recipes.in_memory(model) and model.id not in self.layout.keep:
                yield self.merging(model, "merge")

    def merging(self, model: Model, rule: str) -> Job:
        """The job that writes a cell's checkpoint."""
        inputs = self.folders(self.recipes.read_by(model))
        made = self.layout.kept(model.id) if rule == "keep" else self.layout.model(model)
        return Job(rule, job_name(model.id), inputs, (made,), model)

    def folders(self, models: Sequence[Model]) -> tuple[Path, ...]:
        """The folders of some models, each once."""
        return tuple(dict.fromkeys(path for model in models for path in self.layout.folders(model)))

    def evaluations(self) -> Iterator[Job]:
        """The batches that are to be done, and what checks their recipes."""
        for batch in self.batches:
            place = batch.backbone, batch.name
            name, reads = "/".join(place), tuple(self.batches.reads(batch))
            if batch.in_memory:
                checked = (self.layout.batch_checked(*place),)
                yield Job("recipes", name, reads, checked)
                reads = checked
            model = None if batch.in_memory else batch.models[0]
            share = self.searches.budget if batch.pools else 1.0
            yield Job("evaluate", name, reads, (self.layout.batch_done(*place),), model, batch.results, share)

    def asking(self, result: Result) -> Job:
        """The evaluation of one result, as a job of its own."""
        model = result.model
        read = self.folders(self.recipes.read_by(model) if self.recipes.in_memory(model) else [model])
        reads = (*read, *self.results.data(result))
        name = job_name(model.id, result.shard, result.fingerprint)
        return Job("evaluate", name, reads, (result.path,), model, (result,))

    def search(self, pool: Pool) -> Job:
        """One search, as a job of its own."""
        results = tuple(result for own in pool.results for result in own)
        models = dict.fromkeys(source for model in pool.cells for source in self.recipes.read_by(model))
        instruct = [result.path for result in self.results if result.model == self.searches.instruct(pool.cells[0])]
        reads = (*map(self.layout.model, models), *instruct)
        return Job("search", pool.name, reads, (pool.record,), None, results, self.searches.budget)

    def summaries(self) -> Iterator[Job]:
        """Scores, tables and figures: what `rule all` asks for, besides the evaluations."""
        done = tuple(self.layout.batch_done(batch.backbone, batch.name) for batch in self.batches)
        yield Job("collect", "", (*done, *self.voted()), (self.layout.scores,))
        for report in self.reports.by_name.values():
            yield Job(report.rule, report.name, self.read_by(report), self.files(report))

    def voted(self) -> list[Path]:
        """The file of win rates, once there are votes."""
        return [path for path in [self.layout.win_rates] if path.is_file()]

    def read_by(self, report: Report) -> tuple[Path, ...]:
        """What a table or a figure waits for."""
        if report.layout.reads == "corpora":
            return (*self.counted(), *self.config.published)
        if report.layout.reads == "histories":
            return tuple(self.layout.made(model.id) for model in self.reports.trainings)
        published = self.config.published if report.layout.made == "published" else []
        return (self.layout.scores, *published)

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

    def unnamed(self) -> list[Path]:
        """Files of tables and figures that the configuration does not name any more."""
        named = {*self.config.run["tables"], *self.config.run["figures"], *RESERVED}
        found = []
        for kind, formats in (("table", (*TABLE_FORMATS, "html")), ("figure", FIGURE_FORMATS)):
            folder = self.layout.finished(False) / f"{kind}s"
            found += [path for form in formats for path in folder.glob(f"*.{form}") if path.stem not in named]
        return sorted(found)
