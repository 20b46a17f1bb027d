"""Ask models of a run one question, and show their answers side by side.

    langmerge ask config/config.yaml mini/instruct/none/w0 mini/linear/eu/w0.5 mini/linear/eu/w1 "Who are you?"

Cells are merged in memory, so that no checkpoint is needed; they need not be evaluated. Answers are
greedy. Each model is asked as in the run: merges, instruct and joint models through their chat
template; base and adapted models get the plain text, which they continue. Below each model stands
the language of its answer, of those of the run.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence

from tabulate import tabulate

from langmerge.commands.collect import answer_languages
from langmerge.commands.evaluate import prepare
from langmerge.commands.merge import cores, threads
from langmerge.errors import UserError
from langmerge.grid.grid import Grid, read_run
from langmerge.model import Model

NARROWEST = 30
"""Columns that an answer needs beside others; where there are fewer, answers stand below one
another.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the run's configuration: a YAML file, or YAML text")
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="cells and other models of the run, such as mini/linear/eu/w0.5"
    )
    parser.add_argument("prompt", metavar="PROMPT", help="the question")
    parser.add_argument(
        "--max-tokens", type=int, default=256, metavar="N", help="the longest answer (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=threads, default=cores(), metavar="N", help="cores that a merge uses (default: all)"
    )


def run(options: argparse.Namespace) -> None:
    if options.max_tokens < 1:
        raise UserError(f"--max-tokens {options.max_tokens}: expected a number above 0.")
    grid = read_run(options.run)
    models = [find(grid, id) for id in dict.fromkeys(options.models)]
    prepare(common_backend(grid, models), options)
    from langmerge.identification import identifier
    from langmerge.live.asking import Asked, ask
    from langmerge.live.weights import CellWeights

    def asked(model: Model) -> Asked:
        settings = grid.tasks.backend(model)
        dtype = grid.settings.backbone(model.backbone)["dtype"]
        backend = settings | ({"dtype": dtype} if settings.get("dtype", "auto") == "auto" else {})
        adapted = grid.sources.adapted_model(model)
        if not model.is_merge and adapted is None:
            return Asked(model.id, grid.layout.model(model), backend, grid.tasks.chat_template(model))
        seed, key = grid.config["seed"], grid.identity.model_key(model)
        weights = CellWeights(grid.recipes.merge(model), seed, key, options.threads, None)
        loaded = grid.layout.model(adapted or Model(model.backbone, "instruct"))
        return Asked(model.id, loaded, backend, grid.tasks.chat_template(model), weights)

    answers = ask([asked(model) for model in models], options.prompt, options.max_tokens)
    known = identifier(tuple(answer_languages(grid)))
    columns = []
    for model, answer in zip(models, answers, strict=True):
        language = known.language(answer.text) or "no language"
        cut = "" if answer.finished else f"; cut after {answer.tokens} tokens"
        columns.append((f"{model.id}\n({language}{cut})", answer.text.strip() or "(nothing)"))
    print(side_by_side(columns, shutil.get_terminal_size().columns))


def find(grid: Grid, id: str) -> Model:
    """The model of the run with an id.

    Raises:
        UserError: there is none; or its weights cannot be replaced in memory.
    """
    model = grid.models.get(id)
    if model is None:
        raise UserError(f"{id}: no model of the run. It has: {', '.join(grid.models)}.")
    reason = ""
    if model.is_merge and "quantization" in grid.tasks.backend(model):
        reason = f"the backend of {model.backbone} quantises weights"
    elif model.is_merge and "tokenizer" in grid.recipes.settings(model):
        reason = "it has another tokenizer than the instruct model"
    if reason:
        raise UserError(
            f"{id}: {reason}, so that the cell cannot be merged in memory. Write it with `langmerge publish`, and load that folder."
        )
    return model


def common_backend(grid: Grid, models: Sequence[Model]) -> dict[str, str]:
    """The backend that all models are loaded into.

    Raises:
        UserError: they have different ones, which no process has together.
    """
    kinds = {grid.tasks.backend(model).get("backend", "hf") for model in models}
    if len(kinds) > 1:
        raise UserError("these models have different backends, hf and vllm. Ask those of each in a call of its own.")
    return {"backend": kinds.pop()}


def side_by_side(columns: Sequence[tuple[str, str]], width: int) -> str:
    """Texts below their headings, in columns where the terminal is wide enough."""
    room = width // len(columns) - 3
    if room < NARROWEST:
        return "\n\n".join(f"{heading}\n{text}" for heading, text in columns)
    return tabulate(
        [[text for _, text in columns]],
        headers=[heading for heading, _ in columns],
        tablefmt="presto",
        maxcolwidths=room,
        maxheadercolwidths=room,
        disable_numparse=True,
    )
