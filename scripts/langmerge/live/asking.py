"""One question to several models, one after another; cells are merged in the memory of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.evaluation import backends
from langmerge.evaluation.engines.lm import EngineLM
from langmerge.evaluation.engines.protocol import Generated, Generating
from langmerge.evaluation.settings import completed
from langmerge.live.weights import CellWeights


@dataclass(frozen=True)
class Asked:
    """A model that is asked.

    Attributes:
        id: its name in the run.
        folder: its checkpoint; of a cell, the model that is loaded.
        backend: settings of the engine.
        chat_template: whether it is asked through its chat template, as in the run.
        weights: of a cell; None for a checkpoint.
    """

    id: str
    folder: Path
    backend: dict[str, Any]
    chat_template: bool
    weights: CellWeights | None = None


def ask(models: Sequence[Asked], prompt: str, max_tokens: int) -> list[Generated]:
    """The greedy answer of each model. What cells are merged into is loaded once.

    Raises:
        UserError: a model cannot be loaded or merged, or the prompt is too long.
    """
    found: dict[str, Generated] = {}
    for folder in dict.fromkeys(model.folder for model in models):
        of_folder = [model for model in models if model.folder == folder]
        lm = backends.load(folder, of_folder[0].backend)
        for model in sorted(of_folder, key=lambda model: model.weights is not None):  # before its weights are replaced
            if model.weights:
                lm.engine.take(model.weights)
            found[model.id] = answer(lm, model, prompt, max_tokens)
        lm.engine.close()
    return [found[model.id] for model in models]


def answer(lm: EngineLM, model: Asked, prompt: str, max_tokens: int) -> Generated:
    """The answer of the model that an engine has."""
    settings = completed({})
    lm.begin(None, {**settings["template"], "enable_thinking": settings["enable_thinking"]})
    text = lm.apply_chat_template([{"role": "user", "content": prompt}]) if model.chat_template else prompt
    tokens = lm.tok_encode(text)
    if len(tokens) + max_tokens > lm.engine.max_length:
        raise UserError(
            f"{model.id}: the prompt has {len(tokens)} tokens and its answer may have {max_tokens}, together more than max_length, "
            f"{lm.engine.max_length}. Ask a shorter question, or give a smaller --max-tokens."
        )
    return lm.engine.generate(
        [Generating(prompt=tokens, until=[], max_tokens=max_tokens, temperature=0, top_p=1, top_k=0, seed=None)]
    )[0]
