"""The model behind lm-eval, from the settings of a backbone: transformers or vLLM."""

from __future__ import annotations

from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.evaluation.engines.environment import missing
from langmerge.evaluation.engines.lm import EngineLM
from langmerge.evaluation.engines.protocol import Engine

VLLM_ONLY = ("data_parallel_size", "gpu_memory_utilization", "max_num_seqs")

PROMPTS = ("add_bos_token",)
"""Settings of the prompts, which are the same for all engines."""


def load(model: Path, settings: dict[str, Any]) -> EngineLM:
    """Load a checkpoint into an engine, and that into lm-eval's class of a model.

    Args:
        model: folder in Hugging Face format.
        settings: `backend` (hf or vllm, default hf); the rest are that engine's arguments: dtype,
            batch_size, max_length, ... and those of the prompts. `tensor_parallel_size` means the
            same for both: over how many GPUs one copy of the model is spread.

    Raises:
        UserError: an unknown backend, one that is not installed, or a setting that it does not
            have.
    """
    arguments = {name: value for name, value in settings.items() if name not in ("backend", *PROMPTS)}
    backend = settings.get("backend", "hf")
    if backend not in ENGINES:
        raise UserError(f"backend: {backend!r} is unknown; expected {' or '.join(ENGINES)}.")
    return EngineLM(ENGINES[backend](model, arguments), add_bos_token=settings.get("add_bos_token"))


def hf(model: Path, arguments: dict[str, Any]) -> Engine:
    """transformers, on a GPU where there is one."""
    from langmerge.evaluation.engines.transformers import TransformersEngine

    refused = [name for name in VLLM_ONLY if arguments.pop(name, 1) != 1]
    if refused:
        raise UserError(
            f"`backend: hf` has no {', '.join(refused)}, which is a setting of vLLM. Leave it out, or set `backend: vllm`."
        )
    check(arguments, TransformersEngine, "hf")
    return TransformersEngine(model, **arguments)


def vllm(model: Path, arguments: dict[str, Any]) -> Engine:
    """vLLM, which has an environment of its own."""
    if find_spec("vllm") is None:
        raise missing()
    from langmerge.evaluation.engines.vllm import VllmEngine

    arguments.pop("device", None)
    check(arguments, VllmEngine, "vllm")
    return VllmEngine(model, **arguments)


ENGINES = {"hf": hf, "vllm": vllm}


def check(arguments: dict[str, Any], engine: type, backend: str) -> None:
    """Refuse settings that an engine does not have."""
    known = [name for name in signature(engine).parameters if name != "model"]
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise UserError(
            f"backend: {backend} has no {', '.join(unknown)}; it has {', '.join(sorted([*known, *PROMPTS]))}. (Thinking and "
            f"arguments of the chat template are settings of a task: `enable_thinking`, `template`.)"
        )
