"""The searches of a run: the cells that each chooses among, and the record of what it has found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.evaluation.sealed import read_sealed
from langmerge.faults import Faults
from langmerge.grid.checks import unknown_method
from langmerge.grid.config import Config
from langmerge.grid.digest import digest
from langmerge.grid.identity import Identity
from langmerge.grid.layout import Layout
from langmerge.grid.model_checks import check_cell
from langmerge.grid.models import Models
from langmerge.grid.recipes import Recipes
from langmerge.grid.results import Result, Results
from langmerge.grid.tasks import MERGES, Tasks
from langmerge.grid.variables import points
from langmerge.model import Model
from langmerge.semantics import SEMANTICS


@dataclass(frozen=True)
class Pool:
    """One search.

    Attributes:
        method: the run's, of which the cells' methods are made.
        cells: those that it chooses among, by their variables and weights.
        results: for each cell those that its full evaluation would have.
        record: the file of what it has found, which it writes last.
    """

    method: str
    cells: tuple[Model, ...]
    results: tuple[tuple[Result, ...], ...]
    record: Path

    @property
    def backbone(self) -> str:
        return self.cells[0].backbone

    @property
    def name(self) -> str:
        """Backbone, method and languages: mini/linear/eu."""
        return f"{self.backbone}/{self.method}/{'+'.join(self.cells[0].target)}"


class Searches:
    """The searches of a run."""

    def __init__(
        self, config: Config, models: Models, tasks: Tasks, identity: Identity, results: Results, layout: Layout
    ) -> None:
        """Look at which there are. What those that are done have found becomes part of the run.

        Raises:
            UserError: a record is damaged.
        """
        self.config = config
        self.models = models
        self.tasks = tasks
        self.identity = identity
        self.results = results
        self.layout = layout
        self.all = [self.pool(cells) for cells in models.pools]
        for pool in self.all:
            if record := self.read(pool):
                models.add_found(model for model in pool.cells if model.id in record["found"])

    def __iter__(self) -> Iterator[Pool]:
        return iter(self.all)

    def pool(self, cells: tuple[Model, ...]) -> Pool:
        first = cells[0]
        results = tuple(tuple(self.results.of(model, shard) for shard in self.tasks.shards(model)) for model in cells)
        settings, instruct = self.config.search, self.instruct(first)
        chosen, evaluated = tuple(self.languages(first)), tuple(self.models.of_search(first))
        fingerprint = digest(
            {
                "semantics": SEMANTICS["search"],
                "criterion": {name: settings[name] for name in ("measures", "keep", "budget")},
                "languages": chosen,
                "models": [self.identity.model_key(model) for model in (instruct, *cells)],
                "units": [
                    self.tasks.fingerprints(first.backbone, MERGES, evaluated),
                    self.tasks.fingerprints(first.backbone, instruct.method, chosen),
                ],
            }
        )
        method, target = self.config.variants.get(first.method, first.method), "+".join(first.target)
        return Pool(method, cells, results, self.layout.search(first.backbone, method, target, fingerprint))

    def instruct(self, cell: Model) -> Model:
        """The model that a search compares its cells with."""
        return Model(cell.backbone, "instruct")

    @property
    def budget(self) -> float:
        """Which share of the documents of all cells a search may ask."""
        return self.config.search.get("budget", 0.0)

    def candidate(self, cell: Model) -> list[float]:
        """What a search varies of a cell: its weight and its method's variables."""
        own = self.config.methods[cell.method].get("variables", {})
        return [cell.weight, *(own[name] for name in self.config.search["variables"] if name in own)]

    def languages(self, cell: Model) -> list[str]:
        """Those that the search among a cell and others takes its measures in."""
        return self.config.search["languages"] or [*cell.target]

    def read(self, pool: Pool) -> dict[str, Any] | None:
        """What a search has found; None if it is not done.

        Raises:
            UserError: its record is damaged.
        """
        if not pool.record.is_file():
            return None
        try:
            return read_sealed(pool.record)
        except UserError as error:
            raise UserError(
                f"{pool.record}: {error} Delete the file: the next run makes it again from the answers that are kept."
            ) from None

    def records(self) -> list[dict[str, Any]]:
        """Those of the searches that are done."""
        return [record for record in map(self.read, self.all) if record]


def check_search(config: Config, models: Models, recipes: Recipes, tasks: Tasks) -> Faults:
    """Note a search among cells that cannot be, or by what is not measured, and backbones whose
    cells are not merged in memory.
    """
    faults, settings = Faults(), config.search
    if not settings:
        return faults
    where = config.at(["search"])
    ranges = {("weights",): settings["weights"]}
    ranges |= {("variables", name): given for name, given in settings["variables"].items()}
    for key, given in ranges.items():
        if isinstance(given, dict) and given["from"] >= given["to"]:
            faults.add(f"{config.at(['search', *key])}: from {given['from']:g} to {given['to']:g} is no range.")
        elif len({f"{value:g}" for value in points(given)}) < len(points(given)):
            faults.add(
                f"{config.at(['search', *key])}: {points(given)}: two numbers differ only after six digits. Keep one."
            )
    for name in settings["variables"]:
        if not any(
            name in config.run["methods"].get(method, {}).get("variables", {}) for method in settings["methods"]
        ):
            faults.add(
                f"{config.at(['search', 'variables', name])}: no method of the search has this variable. Define it under the"
                f" method's `variables`, such as variables: {{{name}: 0.5}}, and use it in one of its values."
            )
    for code in settings["languages"]:
        if code not in config.evaluated:
            faults.add(
                f"{config.at(['search', 'languages'])}: {code} is no language of the run. Known: {', '.join(config.evaluated)}."
            )
    for index, method in enumerate(settings["methods"]):
        faults.add(*unknown_method(config, method, ["search", "methods", index]))
        if "tokenizer" in config.run["methods"].get(method, {}):
            faults.add(
                f"{config.at(['search', 'methods', index])}: {method} has `tokenizer`, so that its cells are not merged in memory, and a"
                " search would write a checkpoint for every block. Leave it out of the search."
            )
    if faults.messages:
        return faults
    for name in config.backbones:
        if recipes.merges(name) != "memory":
            faults.add(
                f"{where}: the cells of {name} are not merged in memory (`merges: disk`, or a backend that quantises), and a search"
                " would write a checkpoint for every block. Leave `merges` out, or leave out the search."
            )
    for pool in models.pools:
        for model in pool:
            with faults.kept():
                check_cell(config, recipes, model, where)
        languages = settings["languages"] or pool[0].target
        for measure in (*settings["measures"], *settings["keep"]):
            for code in languages:
                asked, compared = (
                    [task for task in tasks.asked(pool[0].backbone, kind, code) if task["measure"] == measure]
                    for kind in (MERGES, "instruct")
                )
                if not asked or asked != compared:
                    faults.add(
                        f"{where}: {measure} in {code} needs a task that merges and the instruct model are both asked. Add one under"
                        " `tasks`, or name other measures or languages."
                    )
    return faults
