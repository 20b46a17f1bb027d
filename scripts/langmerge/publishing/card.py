"""The model card of a published merge: README.md, as the hub reads it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from langmerge import VERSION
from langmerge.grid.grid import Grid
from langmerge.measures import MEASURES, TASKED, VOTES
from langmerge.model import EXTRA, Model
from langmerge.publishing.evidence import Evidence
from langmerge.publishing.licences import Licence, metadata, terms
from langmerge.publishing.parents import Parent, enumerated
from langmerge.reporting.printing import MISSING, markdown_escape, markdown_table
from langmerge.reporting.scores import ALL, DEV, TEST
from langmerge.reporting.significance import LEVEL
from langmerge.reporting.summary import Score, language_score


@dataclass(frozen=True)
class Card:
    """What a card is made from.

    Attributes:
        name: of the model.
        recipe: in mergekit's YAML, without local paths.
        asked: whether the user has named the cell; otherwise the rule has chosen it.
    """

    grid: Grid
    cell: Model
    name: str
    parents: list[Parent]
    licence: Licence
    recipe: str
    evidence: Evidence
    asked: bool

    def text(self) -> str:
        """The file."""
        card = ModelCard(f"---\n{self.metadata().to_yaml()}\n---\n\n{self.body()}")
        return str(card)

    # ---- metadata

    def metadata(self) -> ModelCardData:
        """What is above the text; parents that are not on the hub are not named there."""
        on_hub = list(dict.fromkeys(parent.hub for parent in self.parents if parent.hub))
        return ModelCardData(
            model_name=self.name,
            language=list(dict.fromkeys([*self.cell.target, *self.languages])),
            **metadata(self.licence),
            library_name="transformers",
            pipeline_tag="text-generation",
            tags=["merge", "langmerge", "conversational"],
            base_model=on_hub or None,
            **({"base_model_relation": "merge"} if on_hub else {}),
            eval_results=[*self.results()],
        )

    def results(self) -> Iterator[EvalResult]:
        """The scores of its tasks on all documents; the mean of the seeds."""
        found: dict[tuple[str, str, str, str], list[float]] = {}
        for one in self.evidence.answers:
            for own in one.result["scores"] if Model.of_columns(one.result["cell"]) == self.cell else ():
                if own["value"] is not None:
                    key = own["task"], own["language"], own["measure"], own["metric"]
                    found.setdefault(key, []).append(own["value"])
        catalogue = self.grid.settings.benchmarks
        for (task, language, measure, metric), values in found.items():
            entry = catalogue.get(self.grid.tasks.catalogue_name(task), {})
            yield EvalResult(
                task_type="text-generation",
                dataset_type=entry.get("dataset", task),
                dataset_name=f"{task} ({language})",
                dataset_config=task,
                dataset_revision=entry.get("revision"),
                metric_type=metric,
                metric_name=MEASURES[measure].axis,
                metric_value=round(sum(values) / len(values), 4),
            )

    def own_scores(self) -> pd.DataFrame:
        """The rows of scores.csv of the cell on all documents, without missing values."""
        scores = self.evidence.scores
        columns = self.cell.columns()
        own = (scores[list(columns)] == pd.Series(columns)).all(axis=1)
        return scores[own & (scores["part"] == ALL) & scores["value"].notna()]

    @property
    def languages(self) -> list[str]:
        """The languages that the cell has scores in, those of the run first."""
        known = set(self.own_scores()["language"])
        return [code for code in self.grid.evaluated if code in known]

    # ---- text

    def body(self) -> str:
        parts = [
            f"# {markdown_escape(self.name)}",
            *[f"**{own.built}**" for own in terms(self.parents)],
            self.introduction(),
            "## How it was made",
            self.making(),
            "## Scores",
            self.table(),
            self.fidelity(),
            "## How w was chosen",
            self.choice(),
            "## Compared with its instruct model",
            self.comparison(),
            "## Licence",
            self.licences(),
            "## Limits",
            self.limits(),
            "## Use",
            self.use(),
        ]
        return "\n\n".join(filter(None, parts)) + "\n"

    def introduction(self) -> str:
        instruct, adapted = (own.name for own in self.parents[:2])
        languages, settings = self.named(self.cell.target), self.grid.recipes.settings(self.cell)
        extras = f", and with {enumerated([*settings[EXTRA]])}" if settings.get(EXTRA) else ""
        tokenizer = {
            None: f"the tokenizer, the chat template and the generation settings of {instruct}",
            "union": f"the tokenizer of {instruct} with the tokens of all merged models, and its chat template and generation settings",
            "adapted": f"the tokenizer of {adapted}, and the chat template and the generation settings of {instruct}",
        }[settings.get("tokenizer")]
        return (
            f"An instructed model that has learned {languages} by merging: the weights of {instruct} were merged with those of"
            f" models that were adapted to {languages}{extras}. Nothing was trained after that. It has {tokenizer}."
        )

    def making(self) -> str:
        rows = [
            [markdown_escape(own.role), own.name, own.origin, markdown_escape(str(own.licence or "unknown"))]
            for own in self.parents
        ]
        header = ["Role", "Model", "Where it comes from", "Licence"]
        method = self.grid.recipes.method(self.cell)
        equation = inspect.cleandoc(method.function.__doc__)
        return (
            f"{markdown_table(header, rows)}\n\nMethod `{method.name}`, w = {self.cell.weight:g}. In its equation, theta_i are the"
            " weights of model i, theta_b those of the base, and tau_i = theta_i - theta_b:\n\n"
            f"```text\n{equation}\n```\n\nThe recipe, in mergekit's YAML (also in mergekit_config.yml):\n\n"
            f"```yaml\n{self.recipe}```\n\nlangmerge {VERSION} made it. langmerge.json has the hashes of what it was made from."
            " Its weights have the SHA-256 of those that were evaluated."
        )

    def references(self) -> dict[str, Model]:
        """The models beside it in the table of scores."""
        backbone = self.cell.backbone
        adapted = {
            f"adapted to {self.language(code)}": Model(backbone, "adapted", (code,)) for code in self.cell.target
        }
        every = {"base": Model(backbone, "base"), "instruct": Model(backbone, "instruct"), **adapted}
        return {name: model for name, model in every.items() if model in self.evidence.summary.models}

    def table(self) -> str:
        """One row per language and measure, one column per model."""
        models = {**self.references(), "this model": self.cell}
        rows = []
        for code in self.languages:
            for measure in MEASURES:
                scores = [self.evidence.score(model, code, measure) for model in models.values()]
                if not math.isnan(scores[-1].mean):
                    documents = str(scores[-1].n or MISSING)
                    rows.append([self.language(code), MEASURES[measure].axis, documents, *map(printed, scores)])
        own = self.own_scores()
        tasks = ", ".join(f"`{task}`" for task in sorted(set(own.loc[own["measure"] != VOTES, "task"])))
        votes = (
            " Blind votes: how often native speakers preferred an answer to that of another model of the run that they were shown."
            if VOTES in set(own["measure"])
            else ""
        )
        return (
            f"In points, with 95% intervals about the choice of documents; n: documents, or instructions of IFEval. {MISSING}: not"
            " evaluated.\n\n"
            f"{markdown_table(['Language', 'Measure', 'n', *models], rows, len(models) + 1)}\n\nTasks of lm-eval: {tasks}.{votes}"
        )

    def fidelity(self) -> str:
        """A sentence for each language about the language of the answers."""
        sentences = []
        for code in self.languages:
            own = self.evidence.score(self.cell, code, "fidelity")
            if not math.isnan(own.mean):
                instruct = self.evidence.score(Model(self.cell.backbone, "instruct"), code, "fidelity")
                sentences.append(
                    f"Where an answer in {self.language(code)} is asked for, {printed(own)}% of its answers are in"
                    f" {self.language(code)} (its instruct model: {printed(instruct)}%)."
                )
        return " ".join(sentences)

    def choice(self) -> str:
        evidence, cell = self.evidence, self.cell
        siblings, rule = evidence.siblings(cell), evidence.rule
        known = [name for name in rule.criterion if any(evidence.summary.has(code, name) for code in cell.target)]
        criterion = ", ".join(MEASURES[name].title for name in known)
        weights = ", ".join(f"{own.weight:g}" for own in siblings)
        kept = f", among those shown to have lost nothing in {', '.join(rule.keep)}" if rule.keep else ""
        best = evidence.choice(siblings)
        if best is None:
            found = "On the development half, no weight can be chosen by this rule."
        else:
            found = f"On the development half of the documents, w = {best.weight:g} is best"
            found += ", this model." if best == cell else "; the publisher has chosen another one."
        scored = {part: language_score(cell, evidence.summary.on(part), known) for part in (DEV, TEST)}
        how = (
            "Its publisher has named it." if self.asked else "The same rule has chosen it among all methods of the run."
        )
        return (
            f"Evaluated weights of this method: {weights}. The rule: the highest mean of {criterion} in {self.named(cell.target)}"
            f"{kept}, on one half of the documents. {found} {how} This model has {printed(scored[DEV])} on that half, and"
            f" {printed(scored[TEST])} on the other half, which has chosen nothing."
        )

    def comparison(self) -> str:
        """The differences, and what the merge is shown not to have lost."""
        margins = self.grid.config["margins"]
        rows, shown, open_ = [], [], []
        for own in self.evidence.kept(self.cell):
            title = MEASURES[own.measure].title
            change = interval(own.value, own.low, own.high, "+.1f")
            rows.append([self.language(own.language), title, MISSING if math.isnan(own.value) else change])
            if own.measure in margins:
                claim = f"{title} in {self.language(own.language)} (margin {margins[own.measure]:g})"
                (shown if own.p < LEVEL else open_).append(claim)
        claims = [
            *([f"Shown to be worse by less than the margin, in points: {'; '.join(shown)}."] if shown else []),
            *([f"Not shown: {'; '.join(open_)}."] if open_ else []),
        ]
        test = (
            f" Each claim is a one-sided paired t test with p < {LEVEL:g}, corrected by Holm's method over all merges of the run in the"
            " same language and measure."
            if claims
            else "No margin was set before, so that nothing is claimed about what it has not lost."
        )
        return (
            f"Difference on the same documents, in points, with its 95% interval. {MISSING}: the answers were not kept, or are to"
            " other documents.\n\n"
            f"{markdown_table(['Language', 'Measure', 'Difference'], rows, 1)}\n\n{' '.join(claims)}{test}"
        )

    def licences(self) -> str:
        known = {str(own.licence) for own in self.parents}
        names = "; ".join(f"{own.name}: {own.licence or 'unknown'}" for own in self.parents)
        stated = "All merged models have it." if known == {str(self.licence)} else "Its publisher says so."
        return f"{self.licence}. {stated} The merged models: {names}."

    def limits(self) -> str:
        scores = self.own_scores()
        untested = [MEASURES[name].title for name in TASKED if name not in set(scores["measure"])]
        remarks = sorted({text for text in scores["remarks"].dropna() if text})
        sentences = [
            "What these tasks do not ask was not measured; a score of a task is not a promise for other texts.",
            f"Not evaluated at all: {', '.join(untested)}." if untested else "",
            f"Look at its answers before you rely on these scores: {'; '.join(remarks)}." if remarks else "",
            "It has what its parents have learned, their mistakes and biases too, and merging may have weakened what the instruct"
            " model had learned about harmful requests.",
        ]
        return " ".join(filter(None, sentences))

    def use(self) -> str:
        return (
            "```python\nfrom transformers import pipeline\n\n"
            'chat = pipeline("text-generation", "path/or/name/of/this/model")\n'
            'print(chat([{"role": "user", "content": "..."}])[0]["generated_text"][-1]["content"])\n```'
        )

    # ---- words

    def language(self, code: str) -> str:
        return markdown_escape(self.grid.settings.language(code)["name"])

    def named(self, codes: tuple[str, ...]) -> str:
        return enumerated([self.language(code) for code in codes])


def printed(score: Score) -> str:
    """A score with its interval."""
    return MISSING if math.isnan(score.mean) else interval(score.mean, score.low, score.high, ".1f")


def interval(value: float, low: float, high: float, digits: str) -> str:
    """A number with its bounds, where they are known, in Markdown."""
    bounds = "" if math.isnan(low) else f" [{low:{digits}}, {high:{digits}}]"
    return markdown_escape(f"{value:{digits}}{bounds}")
