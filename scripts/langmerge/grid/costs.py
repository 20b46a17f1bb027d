"""What evaluations are estimated to take: requests, tokens and hours, before anything has run.

A document is one request, whatever its number of answer choices. Its prompt has the tokens that
config/benchmarks.yaml gives for the document and for each example; `speed` in the backbone's file
says how many tokens a second are read and written. `hours.evaluate` in that file goes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from langmerge.grid.config import Config
from langmerge.grid.tasks import MINIATURE, Tasks, kind
from langmerge.model import Model


@dataclass(frozen=True)
class Cost:
    """What some evaluations take.

    Attributes:
        requests: documents that are asked, counting each seed.
        prompt, answer: tokens that are read and written; hours: on the GPUs of one job, without
            starting. None where the configuration does not tell.
    """

    requests: float | None = 0.0
    prompt: float | None = 0.0
    answer: float | None = 0.0
    hours: float | None = 0.0

    def __add__(self, other: Cost) -> Cost:
        """The sum; None where one of the two is not known."""
        both = zip(self.values, other.values, strict=True)
        return Cost(*(None if None in pair else sum(pair) for pair in both))

    def __mul__(self, times: float) -> Cost:
        return Cost(*(None if value is None else value * times for value in self.values))

    @property
    def values(self) -> tuple[float | None, ...]:
        return self.requests, self.prompt, self.answer, self.hours


class Costs:
    """The estimates of a run."""

    def __init__(self, config: Config, tasks: Tasks) -> None:
        self.config = config
        self.tasks = tasks
        self.of_entries = cache(self._of_entries)

    def configured(self, backbone: str, shard: str) -> float | None:
        """Hours of an evaluation that the backbone's file gives for all of them, or for this shard."""
        hours = self.config.backbone(backbone).get("hours", {}).get("evaluate")
        return hours.get(shard) if isinstance(hours, dict) else hours

    def start(self, backbone: str) -> float | None:
        """Hours until a model answers."""
        speed = self.config.backbone(backbone).get("speed")
        return speed["start"] / 3600 if speed and "start" in speed else None

    def of_job(self, model: Model, shard: str) -> float | None:
        """Hours of an evaluation, from those of its tasks; None where those of one are not known."""
        start = self.start(model.backbone)
        hours = [cost.hours for _, cost in self.of_shard(model, shard)]
        return None if None in hours else (start or 0.0) + sum(hours)

    def of_shard(self, model: Model, shard: str) -> list[tuple[str, Cost]]:
        """Each task of an evaluation, as the run's configuration calls it, and what it takes."""
        return self.of_entries(model.backbone, kind(model), self.tasks.shards(model)[shard])

    def _of_entries(self, backbone: str, asked: str, languages: tuple[str, ...]) -> list[tuple[str, Cost]]:
        entries = [entry for code in languages for entry in self.tasks.asked(backbone, asked, code)]
        sizes: dict[str, int] = {}
        for entry in entries:
            name = entry.get("group", entry["task"])
            sizes[name] = sizes.get(name, 0) + 1
        found: dict[str, Cost] = {}
        for entry in entries:
            name = entry.get("group", entry["task"])
            # How many documents each member of a group has is not known: each gets its share.
            cost = self.of_task(backbone, entry, name) * (1 / sizes[name])
            family = self.tasks.families[name]
            found[family] = found[family] + cost if family in found else cost
        return [*found.items()]

    def of_task(self, backbone: str, entry: dict[str, Any], name: str) -> Cost:
        """What a task, or the whole group that it is a member of, takes with all of its seeds."""
        content, seeds = self.config.backbone(backbone), len(entry.get("seeds") or [None])
        known = {} if name.startswith(MINIATURE) else self.tasks.catalogued(entry)
        documents = known.get("documents")
        if documents is not None:
            documents = min(documents, entry.get("limit", documents))
        configured = content.get("hours", {}).get("evaluate")
        of_tasks = configured.items() if isinstance(configured, dict) else []
        hours = next((value for pattern, value in of_tasks if fnmatchcase(name, pattern)), None)
        if documents is None or "tokens" not in known:
            requests = None if documents is None else documents * seeds
            return Cost(requests, None, None, hours)
        tokens = known["tokens"]
        requests = documents * seeds
        prompt = requests * (tokens["document"] + entry.get("fewshot", 0) * tokens.get("example", tokens["document"]))
        answer = requests * self.answer(entry, tokens)
        speed = content.get("speed")
        if hours is None and speed and "prompt" in speed:
            hours = (prompt / speed["prompt"] + answer / speed["answer"]) / 3600
        return Cost(requests, prompt, answer, hours)

    def answer(self, entry: dict[str, Any], tokens: dict[str, float]) -> float:
        """Tokens of an answer: 0 where a choice is only scored, the longest where a model thinks."""
        if "answer" not in tokens:
            return 0.0
        longest = entry.get("generation", {}).get("max_gen_toks")
        if entry.get("enable_thinking"):
            return longest or tokens["answer"]
        return min(tokens["answer"], longest or tokens["answer"])
