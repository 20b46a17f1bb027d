"""Sealed results and the answers behind them, as `langmerge evaluate` leaves them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from langmerge.reporting.inputs import Answered
from langmerge.reporting.samples import contribution, score
from langmerge.reporting.scores import DEV, TEST

PARTS = (DEV, TEST)


def answers(seed: int, count: int, chance: float) -> list[float]:
    return [float(hit) for hit in np.random.default_rng(seed).random(count) < chance]


def scored(metric: str, values: list) -> dict:
    """Value and count of these answers; no value without any."""
    sums = np.sum([contribution(metric, value, Path()) for value in values], axis=0)
    return {"value": float(score(metric, sums)) if values else None, "stderr": None, "n": len(values)}


class Run:
    """Sealed results and their answers, as `langmerge evaluate` leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.results = folder, {}

    def add(self, method: str, weight: float | None, task: str, metric: str, values: list, **changes) -> Path:
        """Keep a model's answers to one task and its scores; changes: seed, measure, backbone,
        target, language, member (of a group), documents, samples (more of what is kept of each
        answer). Documents are in the two halves by turns.
        """
        target = changes.get("target", "eu" if weight else "")
        name = f"{changes.get('backbone', 'mini')}-{method}{target}{weight}"
        cell = {"backbone": changes.get("backbone", "mini"), "method": method}
        cell |= {"target": target, "weight": weight}
        seed = changes.get("seed")
        measure = changes.get("measure", {"bleu": "mt", "inst_level_strict_acc": "ifeval"}.get(metric, "benchmark"))
        record = {"task": task, "seed": seed, "key": "abc", "metric": metric, "measure": measure}
        record |= {"language": changes.get("language", "eu"), "fingerprint": "abc", **scored(metric, values)}
        record["parts"] = {half: scored(metric, values[start::2]) for start, half in enumerate(PARTS)}
        self.results.setdefault(name, {"cell": cell, "scores": []})["scores"].append(record)
        path = self.folder / name / f"{task}{'' if seed is None else f'.seed{seed}'}.abc.jsonl.gz"
        path.parent.mkdir(exist_ok=True)
        samples = [
            {
                "doc_id": index,
                "arguments": ['many "examples", and \\"filter\\": among them'],
                "filter": "none",
                "doc_hash": f"{changes.get('documents', 'd')}{index}",
                "part": PARTS[index % 2],
                metric: value,
            }
            for index, value in enumerate(values)
        ]
        if "samples" in changes:
            samples = [sample | more for sample, more in zip(samples, changes["samples"], strict=True)]
        if "member" in changes:
            samples = [sample | {"task": member} for sample, member in zip(samples, changes["member"], strict=True)]
        with gzip.open(path, "wt") as file:
            file.writelines(json.dumps(sample) + "\n" for sample in samples)
        return path

    @property
    def answered(self) -> list[Answered]:
        return [Answered(self.folder / f"{name}.json", one, self.folder / name) for name, one in self.results.items()]
