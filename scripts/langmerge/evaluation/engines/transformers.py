"""A model in Hugging Face's transformers, behind the interface of engines.

Every document is one forward pass: what its choices have in common is computed once.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from lm_eval.models.utils import resolve_max_length
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.cache_utils import DynamicLayer

from langmerge.evaluation.engines.batches import in_batches
from langmerge.evaluation.engines.protocol import Generated, Generating, Scoring, Weights
from langmerge.evaluation.engines.replacing import replace_weights
from langmerge.evaluation.engines.sampling import Answer, Sampler

Scored = tuple[float, bool]

AUTO_BATCH = 64
"""Where `batch_size: auto` begins; it is halved until a batch fits."""


class TransformersEngine:
    """See `protocol.Engine`.

    Args:
        model: folder in Hugging Face format.
        dtype: of the weights; `auto` is that of the checkpoint. Log-probabilities are computed in
            float32 from the model's logits, whatever it is.
        batch_size: sequences in a forward pass, or `auto`.
        max_length: of prompt and answer together, in tokens; by default the model's own limit.
        device: `cuda`, `cuda:1`, `cpu`, ...; by default a GPU if there is one.
        tensor_parallel_size: above 1, the layers are spread over all GPUs that are visible.
    """

    def __init__(
        self,
        model: Path | str,
        dtype: str = "auto",
        batch_size: int | str = 1,
        max_length: int | None = None,
        device: str | None = None,
        tensor_parallel_size: int = 1,
        trust_remote_code: bool = False,
        attn_implementation: str | None = None,
    ) -> None:
        place = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=trust_remote_code)
        self.model = AutoModelForCausalLM.from_pretrained(
            model,
            dtype=dtype,
            device_map="auto" if tensor_parallel_size > 1 else {"": place},
            trust_remote_code=trust_remote_code,
            **({"attn_implementation": attn_implementation} if attn_implementation else {}),
        ).eval()
        self.max_length = max_length or resolve_max_length(self.model.config, self.tokenizer)
        self.batch_size = AUTO_BATCH if batch_size == "auto" else int(batch_size)
        self.versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        self.ends = end_tokens(self.model, self.tokenizer)
        self.shares = shares_prefixes(self.model)

    @property
    def device(self) -> str:
        """The devices that hold weights, by name: `2 x NVIDIA A100-SXM4-80GB`, `cpu (x86_64)`."""
        used = {weight.device for weight in self.model.parameters()}
        counts = Counter(
            torch.cuda.get_device_name(place) if place.type == "cuda" else f"{place.type} ({platform.machine()})"
            for place in used
        )
        return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in sorted(counts.items()))

    def take(self, weights: Weights) -> Any:
        replace_weights(self.model, weights)
        return weights.outcome()

    def close(self) -> None:
        self.model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # ---- scoring

    def score(self, requests: Sequence[Scoring]) -> list[list[Scored]]:
        heads = [list(self.heads(request)) for request in requests]
        flat = in_batches(
            [head for own in heads for head in own],
            self.batch_size,
            lambda head: (-len(head.tokens), head.tokens, head.tails),
            self.score_batch,
            unit="document",
        )
        answers = iter(flat)
        return [[scored for _ in own for scored in next(answers)] for own in heads]

    def heads(self, request: Scoring) -> Iterator[Head]:
        """The rows of a document: one, or one per continuation where these cannot share it."""
        whole = Head.of(request)
        if self.shares or all(len(tail) == 1 for tail in whole.tails):
            yield whole
            return
        for continuation in request.continuations:
            yield Head.of(Scoring(request.context, [continuation]))

    @torch.inference_mode()
    def score_batch(self, heads: list[Head]) -> list[list[Scored]]:
        shared = any(len(tail) > 1 for head in heads for tail in head.tails)
        cache = DynamicCache(config=self.model.config) if shared else None
        lengths = [len(head.tokens) for head in heads]
        # Padding is on the right: it comes after all that is asked for, so that no mask is needed.
        logits, columns = self.logits(
            [head.tokens for head in heads],
            [range(length - head.common - 1, length) for head, length in zip(heads, lengths, strict=True)],
            use_cache=shared,
            **({"past_key_values": cache} if shared else {}),
        )
        found = Found(logits)
        for row, (head, length) in enumerate(zip(heads, lengths, strict=True)):
            for place, token in enumerate(head.tokens[length - head.common :], length - head.common - 1):
                found.want((row, -1), row, columns[place], token)
            for number, tail in enumerate(head.tails):
                found.want((row, number), row, columns[length - 1], tail[0])
        sums = found.sums()
        del logits, found
        rest = [(row, number) for row, head in enumerate(heads) for number, tail in enumerate(head.tails) if tail[1:]]
        size = len(heads)  # and not `batch_size`: where memory runs out, it must be less for these too
        for start in range(0, len(rest), size):
            sums.update(self.rest(heads, lengths, cache, rest[start : start + size]))
        return [
            [
                total([sums.get(key, (0.0, True)) for key in ((row, -1), (row, number), (row, number, "rest"))])
                for number in range(len(head.tails))
            ]
            for row, head in enumerate(heads)
        ]

    def rest(
        self, heads: list[Head], lengths: list[int], cache: DynamicCache, chosen: list[tuple[int, int]]
    ) -> dict[tuple[Any, ...], Scored]:
        """What tails have after their first token, with the keys and values of their heads.

        Args:
            lengths: of the heads; the cache is padded on the right to the longest.
            chosen: (row of the cache, number of its tail).
        """
        tails = [heads[row].tails[number] for row, number in chosen]
        rows = torch.tensor([row for row, _ in chosen])
        begun = DynamicCache(
            [
                (layer.keys[rows.to(layer.keys.device)], layer.values[rows.to(layer.values.device)])
                for layer in cache.layers
            ]
        )
        past, width = begun.get_seq_length(), max(map(len, tails)) - 1
        before = torch.tensor([lengths[row] for row, _ in chosen])
        seen = torch.arange(past)[None] < before[:, None]
        logits, _ = self.logits(
            [tail[:-1] for tail in tails],
            [range(width)],
            use_cache=True,
            past_key_values=begun,
            attention_mask=torch.cat([seen, torch.ones(len(tails), width, dtype=torch.bool)], 1).long(),
            position_ids=before[:, None] + torch.arange(width)[None],
        )
        found = Found(logits)
        for line, (key, tail) in enumerate(zip(chosen, tails, strict=True)):
            for column, token in enumerate(tail[1:]):
                found.want((*key, "rest"), line, column, token)
        return found.sums()

    def logits(
        self, rows: list[list[int]], places: list[range], **arguments: Any
    ) -> tuple[torch.Tensor, dict[int, int]]:
        """The logits of rows that are padded on the right, at the places that any of them needs.

        Returns:
            rows x places x vocabulary, and which column a place is in.
        """
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        wanted = sorted({place for own in places for place in own})
        kept = {"logits_to_keep": torch.tensor(wanted)} if len(wanted) < width else {}
        found = self.forward(input_ids=ids, **kept, **arguments)
        return found, {place: column for column, place in enumerate(wanted)}

    def forward(self, **arguments: Any) -> torch.Tensor:
        """The logits, with the arguments brought to where the model is."""
        place = self.model.device
        moved = {
            name: value.to(place) if isinstance(value, torch.Tensor) else value for name, value in arguments.items()
        }
        return self.model(**moved).logits

    # ---- generation

    def generate(self, requests: Sequence[Generating]) -> list[Generated]:
        return in_batches(
            requests,
            self.batch_size,
            lambda request: (-len(request.prompt), request.prompt, repr(request)),
            self.generate_batch,
            unit="answer",
        )

    @torch.inference_mode()
    def generate_batch(self, requests: list[Generating]) -> list[Generated]:
        """The answers of a batch, padded on the left. A sequence that is complete leaves it."""
        width = max(len(request.prompt) for request in requests)
        ids = torch.tensor([[0] * (width - len(request.prompt)) + request.prompt for request in requests])
        padding = torch.tensor([width - len(request.prompt) for request in requests])
        mask = (torch.arange(width)[None] >= padding[:, None]).long()
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=self.model.config)
        answers = [Answer(request, self.tokenizer, self.ends) for request in requests]
        sampler = Sampler(requests, self.model.device)
        active = list(range(len(requests)))
        while True:
            logits = self.forward(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            tokens = sampler(logits[:, -1].float().to(self.model.device), active)
            going = [
                row
                for row, (number, token) in enumerate(zip(active, tokens, strict=True))
                if not answers[number].add(token)
            ]
            if not going:
                return [answer.generated() for answer in answers]
            if len(going) < len(active) and self.shares:
                for layer in cache.layers:
                    layer.batch_select_indices(torch.tensor(going, device=layer.keys.device))
            elif len(going) < len(active):  # caches of other kinds keep their rows, which nobody reads
                going = list(range(len(active)))
            active = [active[row] for row in going]
            ids = torch.tensor([[tokens[row]] for row in going])
            mask = torch.cat([mask[going], torch.ones(len(going), 1, dtype=torch.long)], 1)
            positions = positions[going][:, -1:] + 1


@dataclass(frozen=True)
class Head:
    """A document's row: its context and what its continuations begin with.

    Attributes:
        tokens: context, then `common` tokens that all continuations begin with.
        tails: what each continuation has besides, at least one token.
    """

    tokens: list[int]
    common: int
    tails: list[list[int]]

    @classmethod
    def of(cls, request: Scoring) -> Head:
        shortest = min(map(len, request.continuations))
        first = request.continuations[0]
        common = 0
        while common < shortest - 1 and all(own[common] == first[common] for own in request.continuations):
            common += 1
        return cls(request.context + first[:common], common, [own[common:] for own in request.continuations])


class Found:
    """Log-probabilities that are looked up in logits, all at once.

    Args:
        logits: rows x columns x vocabulary.
    """

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits
        self.wanted: list[tuple[tuple[Any, ...], tuple[int, int], int]] = []

    def want(self, key: tuple[Any, ...], row: int, column: int, token: int) -> None:
        """Ask for a token's log-probability, to be added to the sum of `key`."""
        self.wanted.append((key, (row, column), token))

    def sums(self) -> dict[tuple[Any, ...], Scored]:
        """For each key: the sum of its log-probabilities, and whether every token is the most
        probable one.
        """
        cells = {cell: number for number, cell in enumerate(dict.fromkeys(cell for _, cell, _ in self.wanted))}
        place = self.logits.device
        rows, columns = torch.tensor(list(cells), device=place).unbind(-1)
        chosen = self.logits[rows, columns].float()
        numbers = torch.tensor([cells[cell] for _, cell, _ in self.wanted], device=place)
        tokens = torch.tensor([token for _, _, token in self.wanted], device=place)
        values = (chosen[numbers, tokens] - chosen.logsumexp(-1)[numbers]).tolist()
        greedy = (chosen.argmax(-1)[numbers] == tokens).tolist()
        found: dict[tuple[Any, ...], list[Scored]] = {}
        for (key, _, _), value, best in zip(self.wanted, values, greedy, strict=True):
            found.setdefault(key, []).append((value, best))
        return {key: total(parts) for key, parts in found.items()}


def total(parts: Sequence[Scored]) -> Scored:
    return sum(value for value, _ in parts), all(greedy for _, greedy in parts)


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """The end-of-sequence tokens of the tokenizer and of the model's generation settings.

    Nothing else is taken from these settings: what they say of sampling is not what was asked for.
    """
    own = model.generation_config.eos_token_id if model.generation_config else None
    ids = own if isinstance(own, list) else [own]
    return {token for token in (*ids, tokenizer.eos_token_id) if token is not None}


def shares_prefixes(model: Any) -> bool:
    """Whether continuations can go on from the same keys and values.

    That needs attention to all that came before, in every layer, and transformers' own code.
    """
    layers = DynamicCache(config=model.config).layers
    return type(model).__module__.startswith("transformers.") and all(type(layer) is DynamicLayer for layer in layers)
