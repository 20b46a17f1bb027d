"""The model behind lm-eval: Hugging Face's transformers or vLLM, from the settings of a backbone.

Where memory runs out, the batch size is halved.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from lm_eval.api.model import LM
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM

from langmerge.errors import UserError

logger = logging.getLogger(__name__)

T = TypeVar("T")

VLLM_ONLY = ("data_parallel_size", "gpu_memory_utilization", "max_num_seqs")


def load(model: Path, settings: dict[str, Any]) -> LM:
    """Load a checkpoint into lm-eval's class for a backend.

    Args:
        model: folder in Hugging Face format.
        settings: `backend` (hf or vllm, default hf); the rest are that class's arguments: dtype,
            batch_size, max_length, enable_thinking, ... `tensor_parallel_size` means the same for
            both: over how many GPUs one copy of the model is spread.

    Raises:
        UserError: an unknown backend, one that is not installed, or a setting that it does not
            have.
    """
    arguments = dict(settings)
    backend = arguments.pop("backend", "hf")
    if backend == "hf":
        return get_model("hf")(pretrained=str(model), **transformers_arguments(arguments))
    if backend == "vllm":
        if find_spec("vllm") is None:
            raise UserError(
                "`backend: vllm` needs the package vllm, which is not installed. On a machine with GPUs: "
                "pip install 'lm-eval[vllm]'. Or set `backend: hf`."
            )
        arguments.pop("device", None)
        return get_model("vllm")(pretrained=str(model), **arguments)
    raise UserError(f"backend: {backend!r} is unknown; expected hf or vllm.")


def transformers_arguments(settings: dict[str, Any]) -> dict[str, Any]:
    """The arguments of lm-eval's HFLM.

    On a GPU where there is one; its layers are spread over several where `tensor_parallel_size` is
    above 1.
    """
    arguments = {"device": "cuda" if torch.cuda.is_available() else "cpu", **settings}
    refused = [name for name in VLLM_ONLY if arguments.pop(name, 1) != 1]
    if refused:
        raise UserError(
            f"`backend: hf` has no {', '.join(refused)}, which is a setting of vLLM. Leave it out, or set `backend: vllm`."
        )
    if arguments.pop("tensor_parallel_size", 1) > 1:
        arguments["parallelize"] = True
    return arguments


def with_smaller_batches(lm: LM, work: Callable[[], T]) -> T:
    """Return the result of `work`, with smaller batches where memory runs out.

    The batch size is halved and `work` called again, down to one document at a time. lm-eval asks
    the longest prompts first, so little work is lost. Afterwards the size is what it was: the next
    task may need less memory. vLLM manages its memory itself.
    """
    if not isinstance(lm, HFLM):
        return work()
    configured = lm.batch_size_per_gpu
    try:
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                size = lm.max_batch_size if lm.batch_size_per_gpu == "auto" else lm.batch_size_per_gpu
                if size == 1 or not out_of_memory(error):
                    raise
                lm.batch_size_per_gpu = size // 2
                logger.warning("out of memory with batches of %d; continuing with %d", size, size // 2)
            # Not in the handler: there the exception still refers to the frames that hold the
            # batch.
            clear_device_cache(garbage_collection=True)
    finally:
        lm.batch_size_per_gpu = configured


def out_of_memory(error: Exception) -> bool:
    """Whether an exception means that memory has run out, of the GPU or of the machine."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or should_reduce_batch_size(error)
