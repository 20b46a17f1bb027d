"""Evaluate one model on a list of lm-eval tasks.

Each task's result is a file of its own, so that a killed run continues where it was. Example, after
the default run:

    langmerge evaluate results/mini/models/mini/instruct/none/w0 /tmp/instruct-eu.json \\
        --include results/mini/data/eu/tasks --chat-template \\
        --tasks '[{task: mini_grammar_eu, language: eu, measure: benchmark, metric: acc}]'

docs/evaluation.md says how tasks are found and what a result's name depends on.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from tabulate import tabulate

from langmerge.evaluation.engines.environment import go_over
from langmerge.evaluation.modelfiles import check_model
from langmerge.evaluation.sealed import read_sealed
from langmerge.offline import go_offline
from langmerge.yamls import yaml_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="the model's folder (Hugging Face format)")
    parser.add_argument("result", type=Path, help="the JSON file to write when every task is done")
    parser.add_argument(
        "--tasks",
        required=True,
        metavar="YAML",
        help="a list of tasks, as a YAML file or text. Each: task (lm-eval's name), language, measure, metric; and "
        "optionally fewshot (default 0), limit (only the first documents), seeds (one evaluation for each), generation "
        "(temperature, top_p, top_k, max_gen_toks, until), enable_thinking (default false), template (arguments of the chat "
        "template), chat_template (false: never), flores ({source: {code, name}, target: {code, name}}: a translation task "
        "of FLORES+ in lm-eval's words)",
    )
    parser.add_argument(
        "--include",
        nargs="*",
        type=Path,
        default=[],
        metavar="DIR",
        help="folders with task YAMLs, searched in this order before langmerge's own and lm-eval's",
    )
    parser.add_argument(
        "--datasets",
        metavar="YAML",
        default="{}",
        help="name of a data set on the hub: local folder with its files, as a YAML file or text",
    )
    parser.add_argument(
        "--parts", type=Path, metavar="DIR", help="where each task's result is kept (default: tasks/ beside the result)"
    )
    parser.add_argument("--samples", type=Path, metavar="DIR", help="keep every prompt and answer here, as .jsonl.gz")
    parser.add_argument(
        "--key",
        help="what identifies the model (default: a hash of its files); a folder whose langmerge.json has another key is "
        "refused",
    )
    parser.add_argument(
        "--given",
        action="store_true",
        help="the run was given this model and did not make it: its langmerge.json may have any key",
    )
    parser.add_argument("--provenance", metavar="YAML", default="{}", help="written into the result as it is")
    parser.add_argument(
        "--chat-template", action="store_true", help="put prompts into the model's chat template, few-shots as turns"
    )
    parser.add_argument(
        "--backend",
        metavar="YAML",
        default="{}",
        help="backend (hf or vllm, default hf) and its settings: dtype, batch_size, max_length, tensor_parallel_size, ...; "
        "for hf also device (default: a GPU if there is one), for vllm gpu_memory_utilization, max_num_seqs",
    )


def run(options: argparse.Namespace) -> None:
    tasks, datasets = yaml_argument(options.tasks), yaml_argument(options.datasets)
    backend, provenance = yaml_argument(options.backend), yaml_argument(options.provenance)
    check_model(options.model, None if options.given else options.key)
    prepare(backend, options)
    # Imported here because it takes seconds, which a mistake in an argument should not have to wait
    # for, and because these libraries read the variables above when they are imported.
    from langmerge.evaluation.harness import Evaluation
    from langmerge.evaluation.lookup import Lookup

    parts = options.parts or options.result.parent / "tasks"
    Evaluation(
        model=options.model,
        tasks=tasks,
        lookup=Lookup(options.include, datasets, verdicts=parts),
        parts=parts,
        samples=options.samples,
        key=options.key,
        chat_template=options.chat_template,
        backend=backend,
    ).run(options.result, provenance)
    print(found(options.result))


def found(result: Path) -> str:
    """The scores of a result, one line each, and where they are."""
    scores = read_sealed(result)["scores"]
    rows = [
        [
            score["task"],
            score["measure"],
            score["metric"],
            "" if score.get("seed") is None else score["seed"],
            score["value"],
        ]
        for score in scores
    ]
    return f"{tabulate(rows, headers=['task', 'measure', 'metric', 'seed', 'value'], floatfmt='.2f')}\n{result}"


def prepare(backend: dict[str, Any], options: argparse.Namespace) -> None:
    """What comes before the libraries of an evaluation are imported: the environment of its
    backend.
    """
    if backend.get("backend") == "vllm" and "command_line" in options:  # not where Python calls this
        go_over(options.command_line)
    go_offline()
    # lm-eval would start a pool of processes for each bootstrap; ours take less time than starting
    # it.
    os.environ.setdefault("DISABLE_MULTIPROC", "1")
