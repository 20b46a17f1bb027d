"""lm-eval's tasks, asked of an engine or of lm-eval's own class, and the two compared."""

from __future__ import annotations

import json
from pathlib import Path

import lm_eval
import pytest

from langmerge.evaluation.engines.lm import EngineLM
from langmerge.evaluation.lookup import Lookup


def write_letters(folder: Path) -> Path:
    """Write the task `letters` into a folder: 50 questions with the choices A, B, C, D."""
    rows = [{"question": f"Zer da {number}?\nA: bat\nB: bi\nC: hiru\nD: lau\nErantzuna:"} for number in range(55)]
    for split, own in (("dev", rows[:5]), ("test", rows[5:])):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps({**row, "answer": "B"}) + "\n" for row in own))
    (folder / "letters.yaml").write_text(
        "task: letters\n"
        "custom_dataset: !function langmerge.evaluation.jsonl.load\n"
        "dataset_kwargs: {data_files: {dev: dev.jsonl, test: test.jsonl}}\n"
        "output_type: multiple_choice\ntest_split: test\nfewshot_split: dev\n"
        "doc_to_text: question\ndoc_to_choice: [A, B, C, D]\ndoc_to_target: answer\n"
        "metric_list:\n  - {metric: acc, aggregation: mean, higher_is_better: true}\n"
    )
    return folder


def asked(lm, lookup: Lookup, entry: dict, chat: bool = True, seed: int = 1, **changes) -> list[dict]:
    """lm-eval's samples of an entry's tasks."""
    tasks = lookup.load(entry)
    for task in tasks.values():
        task.set_config(key="num_fewshot", value=entry.get("fewshot", 0))
        task.set_fewshot_seed(seed=1234)
        if "generation" in entry:
            task.set_config(key="generation_kwargs", value=dict(entry["generation"]), update=True)
    if isinstance(lm, EngineLM):
        lm.begin(seed, changes.get("template", {}))
    found = lm_eval.evaluate(
        lm=lm,
        task_dict={"tasks": tasks},
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        bootstrap_iters=0,
        limit=changes.get("limit"),
    )
    return [sample for own in found["samples"].values() for sample in own]


def same(ours: list[dict], others: list[dict], metric: str, within: float) -> int:
    """Check document by document; return how many log-probabilities were compared."""
    compared = 0
    assert len(ours) == len(others) > 0
    for mine, other in zip(ours, others, strict=True):
        assert mine["arguments"] == other["arguments"]
        assert mine[metric] == other[metric]
        for answer, expected in zip(mine["filtered_resps"], other["filtered_resps"], strict=True):
            if isinstance(answer, str):
                assert answer == expected
                continue
            assert float(answer[0]) == pytest.approx(float(expected[0]), abs=within)
            assert str(answer[1]) == str(expected[1])
            compared += 1
    return compared
