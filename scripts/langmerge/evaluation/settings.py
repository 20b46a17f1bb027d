"""How a task is asked: the settings of its entry, complete and explicit.

No torch and no lm-eval: the grid completes its entries with the same defaults as `langmerge
evaluate` completes those that somebody wrote by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langmerge.errors import UserError
from langmerge.faults import nearest

DATE = "26 Jul 2024"
"""The date that chat templates which write one are given, by default.

It is the one that Llama 3.1's template falls back to. Llama 3.2's writes today's unless it is told
one, and then answers depend on the day.
"""

TEMPLATE = {"date_string": DATE}
"""Arguments of every chat template, by default. A template ignores those that it does not know."""

OVERRIDES = ("fewshot", "limit", "generation", "template", "enable_thinking", "chat_template")
"""Settings that the file of a language or of a backbone may change for a task."""

MERGED = ("generation", "template")
"""Of these, the ones that are changed key by key."""

GENERATION = ("temperature", "top_p", "top_k", "max_gen_toks", "until")
"""Settings of answers that are written. Temperature 0 is greedy; top_k 0 sets no limit."""

SAMPLING = ("temperature", "top_p", "top_k")


ENGINES = {
    "hf": (
        "dtype",
        "batch_size",
        "max_length",
        "device",
        "tensor_parallel_size",
        "trust_remote_code",
        "attn_implementation",
    ),
    "vllm": (
        "dtype",
        "batch_size",
        "max_length",
        "tensor_parallel_size",
        "gpu_memory_utilization",
        "max_num_seqs",
        "enforce_eager",
        "trust_remote_code",
        "quantization",
    ),
}
"""The settings of each backend's engine. Known here, so that a slip is found before a model is
loaded.
"""

EVERYWHERE = ("backend", "add_bos_token", "device")
"""Settings that every backend may have; `device` says nothing to vLLM, which takes the GPUs."""


def check_backend(settings: Mapping[str, Any], at: Callable[[Sequence[str]], str]) -> None:
    """Refuse settings that belong to the other backend.

    Args:
        at: how messages name the place of a key, given as a list.

    Raises:
        UserError: names all of them.
    """
    backend = settings.get("backend", "hf")
    known = (*EVERYWHERE, *ENGINES[backend])
    messages = []
    for name, value in settings.items():
        others = [other for other in ENGINES if name in ENGINES[other]]
        # One vLLM setting says nothing: a single copy of the model.
        if name not in known and value != 1:
            advice = (
                f" It is a setting of {' and '.join(others)}: leave it out, or set `backend: {others[0]}`."
                if others
                else ""
            )
            messages.append(
                f"{at(['backend', name])}: `backend: {backend}` has no {name}.{advice or nearest(name, known)} It has {', '.join(known)}."
            )
    if messages:
        raise UserError("\n".join(messages))


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with changes; `generation` and `template` are changed key by key."""
    own = {name: {**settings.get(name, {}), **changes[name]} for name in MERGED if name in changes}
    return {**settings, **changes, **own}


def completed(entry: dict[str, Any]) -> dict[str, Any]:
    """A task's entry with its defaults: nothing that determines an answer is left to a library or
    to the day.

    Calling it twice is the same as once.

    Raises:
        UserError: `generation` has an unknown key, or samples without saying how.
    """
    entry = dict(entry)
    if "generation" in entry:
        entry["generation"] = completed_generation(entry["generation"], entry["task"])
    if entry.get("chat_template", True):
        entry["enable_thinking"] = entry.get("enable_thinking", False)
        entry["template"] = {**TEMPLATE, **entry.get("template", {})}
    return entry


def completed_generation(generation: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Settings of generation with `do_sample`, lm-eval's name for a temperature above 0."""
    unknown = [name for name in generation if name not in (*GENERATION, "do_sample")]
    if unknown:
        raise UserError(f"{task}: generation: unknown key {', '.join(unknown)}. Known: {', '.join(GENERATION)}.")
    temperature = generation.get("temperature")
    sampled = bool(temperature)
    if generation.get("do_sample", sampled) != sampled:
        raise UserError(
            f"{task}: generation: do_sample: {str(generation['do_sample']).lower()} does not fit temperature: {temperature}. Leave "
            "do_sample out: a temperature above 0 samples, and 0 is greedy."
        )
    missing = [name for name in SAMPLING if name not in generation]
    if sampled and missing:
        raise UserError(
            f"{task}: generation: answers are sampled at temperature {temperature}, and {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not given. Libraries have different defaults, so say it: top_p: 1 and top_k: 0 "
            "set no limit."
        )
    return dict(generation) if temperature is None else {**generation, "do_sample": sampled}


def chat_arguments(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the chat template is told beside the messages, for a completed entry."""
    return {**entry.get("template", {}), "enable_thinking": entry.get("enable_thinking", False)}
