"""A model in vLLM, behind the interface of engines.

vLLM's scheduler runs in this process. With tensor parallelism above 1 there is one more process per
GPU, see `watchdog`.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

# vLLM reads these when it is imported. Its scheduler in a process of its own would outlive this one
# and hold the GPU if this one is killed, and this one would wait for it if that one is.
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
# A forked process inherits the threads' locks, but not the threads.
os.environ["VLLM_WORKER_MULTIPROCESSING_METHOD"] = "spawn"
os.environ["VLLM_NO_USAGE_STATS"] = "1"
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")

import torch
import transformers
from lm_eval.models.utils import resolve_max_length
from tqdm import tqdm
from transformers import AutoConfig, AutoTokenizer
from vllm import LLM, SamplingParams
from vllm.inputs.engine import tokens_input
from vllm.outputs import RequestOutput
from vllm.platforms import current_platform
from vllm.sampling_params import MAX_LOGPROB_TOKEN_IDS, RequestOutputKind

from langmerge.evaluation.engines import watchdog, worker
from langmerge.evaluation.engines.protocol import Generated, Generating, Scoring, Weights
from langmerge.evaluation.engines.sampling import Answer

Scored = tuple[float, bool]
Ask = tuple[list[int], SamplingParams]

WAITING = 2048
"""Requests that vLLM has at once. More would only take memory: it works on `max_num_seqs` of them."""

CPU_CACHE = "1"
"""GiB for keys and values on a CPU, where vLLM would take nearly all memory of the machine."""


class VllmEngine:
    """See `protocol.Engine`.

    Args:
        model: folder in Hugging Face format.
        dtype: of the weights; `auto` is that of the checkpoint.
        batch_size: has no meaning here, because vLLM makes its own batches; `max_num_seqs` limits
            them.
        max_length: of prompt and answer together, in tokens; by default the model's own limit.
        tensor_parallel_size: over how many GPUs the model is spread.
        gpu_memory_utilization: share of a GPU's memory for weights, keys and values; 0.9 by
            default.
        max_num_seqs: sequences in a forward pass.
        enforce_eager: without CUDA graphs.

    Attributes:
        counts: what was asked so far: `requests`, their `tokens`, how many of these were `cached`,
            and the requests that were asked `again`.
    """

    def __init__(
        self,
        model: Path | str,
        dtype: str = "auto",
        batch_size: int | str = "auto",
        max_length: int | None = None,
        tensor_parallel_size: int = 1,
        gpu_memory_utilization: float | None = None,
        max_num_seqs: int | None = None,
        enforce_eager: bool | None = None,
        trust_remote_code: bool = False,
        quantization: str | None = None,
    ) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=trust_remote_code)
        limit = resolve_max_length(
            AutoConfig.from_pretrained(model, trust_remote_code=trust_remote_code), self.tokenizer
        )
        self.max_length = max_length or limit
        if self.max_length == limit:
            # One more is asked for below, for a token that is drawn and not read.
            os.environ["VLLM_ALLOW_LONG_MAX_MODEL_LEN"] = "1"
        if current_platform.is_cpu():
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", CPU_CACHE)
            keep_from_llvmlite()
        given = {
            "gpu_memory_utilization": gpu_memory_utilization,
            "max_num_seqs": max_num_seqs,
            "enforce_eager": current_platform.is_cpu() if enforce_eager is None else enforce_eager,
            "quantization": quantization,
            "worker_extension_cls": f"{worker.__name__}.Worker",
        }
        self.llm = LLM(
            str(model),
            dtype=dtype,
            max_model_len=self.max_length + 1,
            tensor_parallel_size=tensor_parallel_size,
            trust_remote_code=trust_remote_code,
            seed=0,
            **{name: value for name, value in given.items() if value is not None},
        )
        self.watchdog = watchdog.Watchdog(multiprocessing.active_children())
        own = self.llm.llm_engine.model_config.try_get_generation_config().get("eos_token_id")
        self.ends = {*(own if isinstance(own, list) else [own]), self.tokenizer.eos_token_id} - {None}
        self.versions = {"vllm": version("vllm"), "torch": torch.__version__, "transformers": transformers.__version__}
        self.device = device(tensor_parallel_size)
        self.counts: Counter[str] = Counter()

    def take(self, weights: Weights) -> Any:
        """Each of vLLM's processes reads the weights by itself, and keeps its part of them."""
        first, *others = self.llm.collective_rpc(worker.TAKE, args=(weights,))
        if any(other != first for other in others):
            raise RuntimeError("vLLM's processes have read different weights")
        self.llm.reset_prefix_cache()
        return first

    def close(self) -> None:
        self.watchdog.stop()
        self.llm.llm_engine.engine_core.shutdown()
        del self.llm
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # ---- scoring

    def score(self, requests: Sequence[Scoring]) -> list[list[Scored]]:
        """One request per document and beginning of its continuations, see `Beginning`."""
        found: list[list[Scored | None]] = [[None] * len(request.continuations) for request in requests]
        beginnings = [
            own for number, request in enumerate(requests) for own in Beginning.all(number, request.context, request)
        ]

        def read(own: Beginning, output: RequestOutput, whole: bool) -> bool:
            scores = own.read(output, whole)
            if scores is not None:
                for number, scored in scores:
                    found[own.document][number] = scored
            return scores is not None

        again: list[Beginning] = []
        asked = [(own.prompt, own.settings(cached=True)) for own in beginnings]
        self.ask(
            asked, lambda number, output: read(beginnings[number], output, False) or again.append(beginnings[number])
        )
        self.counts["again"] += len(again)
        asked = [(own.prompt, own.settings(cached=False)) for own in again]
        self.ask(asked, lambda number, output: read(again[number], output, True))
        return found

    # ---- generation

    def generate(self, requests: Sequence[Generating]) -> list[Generated]:
        found: dict[int, Generated] = {}
        answers = [Answer(request, self.tokenizer, self.ends) for request in requests]

        def read(number: int, output: RequestOutput) -> None:
            (written,) = output.outputs
            answers[number].tokens = list(written.token_ids)
            answers[number].ended = written.finish_reason == "stop"
            found[number] = answers[number].generated()

        asked = [(request.prompt, sampling(request, answer)) for request, answer in zip(requests, answers, strict=True)]
        self.ask(asked, read, unit="answer")
        return [found[number] for number in range(len(requests))]

    # ---- requests

    def ask(self, asked: Sequence[Ask], read: Callable[[int, RequestOutput], Any], unit: str = "document") -> None:
        """Ask all; `read` takes each answer, with its number, as soon as it is there.

        Answers are not kept here: those with log-probabilities of a prompt take 100 bytes per token
        of it.
        """
        engine = self.llm.llm_engine
        waiting = iter(enumerate(asked))
        numbers: dict[str, int] = {}
        with tqdm(total=len(asked), unit=unit, disable=None, leave=False) as bar:
            while True:
                while len(numbers) < WAITING and (following := next(waiting, None)):
                    number, (prompt, settings) = following
                    numbers[str(number)] = number
                    engine.add_request(str(number), tokens_input(prompt), settings)
                if not numbers:
                    return
                for output in engine.step():
                    if output.finished:
                        self.count(output)
                        read(numbers.pop(output.request_id), output)
                        bar.update()

    def count(self, output: RequestOutput) -> None:
        self.counts["requests"] += 1
        self.counts["tokens"] += len(output.prompt_token_ids)
        self.counts["cached"] += output.num_cached_tokens or 0


@dataclass
class Beginning:
    """Continuations of a document that differ in their last token only: one request.

    Its prompt is the context and what these continuations begin with. vLLM draws one token after
    it, and says what probabilities their last tokens had there.

    Attributes:
        document: its number.
        context: how many tokens the context has.
        prompt: context and beginning.
        lasts: last token -> numbers of the continuations that end with it.
    """

    document: int
    context: int
    prompt: list[int]
    lasts: dict[int, list[int]] = field(default_factory=dict)

    @classmethod
    def all(cls, document: int, context: list[int], request: Scoring) -> Iterable[Beginning]:
        """Those of a document. vLLM limits how many last tokens one request may ask about."""
        groups: dict[tuple[int, ...], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for number, continuation in enumerate(request.continuations):
            groups[tuple(continuation[:-1])][continuation[-1]].append(number)
        for beginning, lasts in groups.items():
            tokens = sorted(lasts)
            for start in range(0, len(tokens), MAX_LOGPROB_TOKEN_IDS):
                chosen = {token: lasts[token] for token in tokens[start : start + MAX_LOGPROB_TOKEN_IDS]}
                yield cls(document, len(context), [*context, *beginning], chosen)

    def settings(self, cached: bool) -> SamplingParams:
        """What vLLM is asked.

        Args:
            cached: whether it may take the prompt's keys and values from its cache. It says nothing
                of the probabilities of such tokens, so that by itself it does not use the cache
                where `prompt_logprobs` is set. Here only those of the beginning are needed, which
                comes last.
        """
        return SamplingParams(
            temperature=0,
            max_tokens=1,
            ignore_eos=True,
            detokenize=False,
            logprob_token_ids=list(self.lasts),
            prompt_logprobs=0 if len(self.prompt) > self.context else None,
            flat_logprobs=True,
            skip_reading_prefix_cache=not cached,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def read(self, output: RequestOutput, whole: bool) -> list[tuple[int, Scored]] | None:
        """(number of the continuation, its score) of each, or None if cached tokens reach into the
        beginning.

        Args:
            whole: nothing was cached.
        """
        value, greedy = 0.0, True
        beginning = self.prompt[self.context :]
        if beginning:
            # The probabilities of a token come from the token before it.
            if not whole and (output.num_cached_tokens or 0) >= self.context:
                return None
            rows = output.prompt_logprobs
            for place, token in enumerate(beginning, self.context):
                cell = rows.start_indices[place]
                if rows.token_ids[cell] != token:
                    raise RuntimeError(f"vLLM gave the probability of token {rows.token_ids[cell]}, not of {token}")
                value += rows.logprobs[cell]
                greedy &= rows.ranks[cell] == 1
        (written,) = output.outputs
        found = written.logprobs[0]
        return [
            (number, (value + found[token].logprob, greedy and written.token_ids[0] == token))
            for token, numbers in self.lasts.items()
            for number in numbers
        ]


def sampling(request: Generating, answer: Answer) -> SamplingParams:
    """vLLM's words for what is asked. Where an answer ends is the same as with transformers."""
    greedy = request.temperature == 0
    return SamplingParams(
        temperature=request.temperature,
        top_p=1.0 if greedy else request.top_p,
        top_k=0 if greedy else request.top_k,
        seed=None if greedy else request.seed,
        max_tokens=request.max_tokens,
        stop=answer.until,
        stop_token_ids=sorted(answer.ends),
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def keep_from_llvmlite() -> None:
    """Let vLLM start on a CPU where Numba has been loaded, which merges in memory do.

    On a CPU vLLM looks through the `__dict__` of every object in every module. llvmlite's `lib`
    says that it has every attribute, and gives a function of the C library, so that vLLM 0.32
    fails.
    """
    ffi = sys.modules.get("llvmlite.binding.ffi")
    if ffi is not None:
        ffi.lib._fntab["__dict__"] = {}


def device(count: int) -> str:
    """The devices by name: `2 x NVIDIA A100-SXM4-80GB`, `cpu (x86_64)`."""
    if current_platform.is_cpu():
        return f"cpu ({platform.machine()})"
    name = current_platform.get_device_name()
    return name if count == 1 else f"{count} x {name}"
