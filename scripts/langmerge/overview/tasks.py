"""What each task of a run takes, and which models are asked it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from langmerge.grid.costs import Cost
from langmerge.grid.grid import Grid
from langmerge.grid.jobs import Job
from langmerge.grid.tasks import ASKED, kind

STARTING = "(starting)"
"""The name of what every evaluation takes before its first request."""


@dataclass
class TaskCost:
    """What one task takes in the evaluations that are to be done.

    Attributes:
        task: as the run's configuration calls it.
        models: the kinds of models that are asked.
        evaluations: how many results have it; of STARTING, how many jobs there are.
        requests: documents that are asked, each seed counted. prompt, answer: millions of tokens
            that are read and written. gpu_hours: of all GPUs. All are estimates, and None where the
            configuration does not tell.
    """

    task: str
    models: list[str] = field(default_factory=list)
    evaluations: int = 0
    requests: float | None = None
    prompt: float | None = None
    answer: float | None = None
    gpu_hours: float | None = None


def task_costs(grid: Grid, jobs: Iterable[Job]) -> list[TaskCost]:
    """The costs of the tasks of some evaluations, the most expensive first."""
    costs: dict[str, Cost] = {}
    found: dict[str, TaskCost] = {}
    kinds: dict[str, set[str]] = {}
    for job in jobs:
        if not job.results:
            continue
        gpus = grid.resources("evaluate", job.backbone).get("gpu", 0)
        asked = [
            (result.model, own) for result in job.results for own in grid.costs.of_shard(result.model, result.shard)
        ]
        start = Cost(None, None, None, grid.costs.start(job.backbone))
        for model, (name, cost) in [(job.results[0].model, (STARTING, start)), *asked]:
            own = Cost(*cost.values[:3], None if cost.hours is None else cost.hours * gpus)
            own = own * (1.0 if name == STARTING else job.share)
            costs[name] = costs[name] + own if name in costs else own
            row = found.setdefault(name, TaskCost(name))
            row.evaluations += 1
            kinds.setdefault(name, set()).add(kind(model))
    for name, row in found.items():
        requests, prompt, answer, row.gpu_hours = costs[name].values
        row.requests, row.models = requests, [each for each in ASKED if each in kinds[name]]
        row.prompt, row.answer = (None if tokens is None else tokens / 1e6 for tokens in (prompt, answer))
    return sorted(found.values(), key=lambda row: (-(row.gpu_hours or 0.0), row.task == STARTING))
