"""What trainings are estimated to take, before they run: arithmetic, GPU-hours, legs, memory, disk."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from langmerge.errors import UserError
from langmerge.grid.grid import Grid
from langmerge.grid.resources import DEFAULTS, nodes_and_gpus
from langmerge.model import Model
from langmerge.training.recipe import complete, number_of_steps

GB = 1e9

WEIGHT = 4
"""Bytes of a weight, and of its gradient."""

MEANS = {None: 8.0, "adamw_8bit": 2 * (1 + 4 / 256)}
"""Bytes per weight of AdamW's two means, by the recipe's `optimizer`."""

FROZEN = {"float32": 4.0, "bfloat16": 2.0, "nf4": 0.52}
"""Bytes per weight of a checkpoint under an adapter (QLoRA, Dettmers et al. 2023, section 3)."""

CHECKPOINTS = 3
"""Checkpoints that are there at once: two that are kept, and one that is being written."""

KEPT, RECOMPUTED = 34, 2
"""Bytes per token, layer and unit of width that are kept for the gradient, in 16 bits and without
the attention's matrix (Korthikanti et al. 2022, table 2); with `recompute` only a layer's input.
"""

LOGITS = 3 * 2**26 * 4
"""Bytes of a piece of logits, its log-probabilities and its gradient (training/sharding.py)."""


class Shape(NamedTuple):
    """A transformer with gated feed-forward layers, as Llama and Qwen3 are."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head: int
    inner: int
    vocabulary: int
    tied: bool

    @classmethod
    def of(cls, config: dict[str, Any]) -> Shape:
        """The shape that a config.json of transformers describes."""
        heads = config["num_attention_heads"]
        return cls(
            config["num_hidden_layers"],
            config["hidden_size"],
            heads,
            config.get("num_key_value_heads") or heads,
            config.get("head_dim") or config["hidden_size"] // heads,
            config["intermediate_size"],
            config["vocab_size"],
            config.get("tie_word_embeddings", False),
        )

    @property
    def layer(self) -> int:
        """Weights of a layer's matrices."""
        attention = self.width * self.head * 2 * (self.heads + self.kv_heads)
        return attention + 3 * self.width * self.inner

    def adapter(self, rank: int) -> int:
        """Weights of an adapter of all linear layers."""
        attention = 4 * self.width + 2 * self.head * (self.heads + self.kv_heads)
        return self.layers * rank * (attention + 3 * (self.width + self.inner))

    @property
    def multiplied(self) -> int:
        """Weights that each token is multiplied with: those of the layers and of the head."""
        return self.layers * self.layer + self.width * self.vocabulary

    @property
    def weights(self) -> int:
        """All weights but the norms' scales, which are a few thousandths of a percent."""
        return self.multiplied + (0 if self.tied else self.width * self.vocabulary)

    def flops(self, length: int, frozen: bool = False) -> float:
        """Operations of a training per token, in sequences of so many.

        6 per weight (Kaplan et al. 2020), of which 2 are for the gradient of the weight itself, and
        12 x layers x heads x head x length for the attention (PaLM, Chowdhery et al. 2022, appendix
        B).
        """
        return (4 if frozen else 6) * self.multiplied + 12 * self.layers * self.heads * self.head * length


@dataclass(frozen=True)
class Training:
    """What one training takes.

    Attributes:
        tokens: that it learns from; flops: all its operations; None where the shape is not known.
        gpu_hours: None where no speed is known; legs: how often it starts, from its time limit.
        memory: GB of each process; checkpoints: GB on disk at most.
    """

    model: str
    tokens: int
    flops: float | None
    gpu_hours: float | None
    legs: int | None
    memory: float | None
    checkpoints: float | None


def shape_of(grid: Grid, model: Model) -> Shape | None:
    """The shape of a model that is trained; None while the model that it starts from is not there."""
    settings = grid.sources.of(model)["train"]
    if "init" in settings:
        size = grid.settings.backbone(model.backbone)["tokenizer"]["vocab_size"]
        return Shape.of({**settings["init"], "vocab_size": size})
    origin = Model(model.backbone, settings["from"])
    if grid.sources.is_trained(origin):
        return shape_of(grid, origin)
    file = grid.layout.model(origin) / "config.json"
    return Shape.of(json.loads(Path(file).read_text(encoding="utf-8"))) if file.is_file() else None


def memory(shape: Shape, recipe: dict[str, Any], nodes: int, per_node: int) -> float:
    """GB that a process needs, without what torch and its libraries take."""
    parts = {"none": 1, "node": per_node, "all": nodes * per_node}[recipe["shard"]]
    share = recipe["batch_size"] // (nodes * per_node)
    tokens = min(recipe.get("micro_batch", share), share) * recipe["sequence_length"]
    of_layer = tokens * shape.width * KEPT
    kept = (
        shape.layers * tokens * shape.width * RECOMPUTED + of_layer if recipe["recompute"] else shape.layers * of_layer
    )
    # The weights of the layer that is computed, of the next one, and of both ends, in 16 bits.
    in_parts = parts > 1 or "lora" in recipe
    gathered = 2 * (2 * shape.layer + shape.weights - shape.layers * shape.layer) if in_parts else 2 * shape.weights
    return (state(shape, recipe, parts) + gathered + kept + LOGITS) / GB


def state(shape: Shape, recipe: dict[str, Any], parts: int) -> float:
    """Bytes of what a process holds of weights, gradients and AdamW's means."""
    trained = 2 * WEIGHT + MEANS[recipe.get("optimizer")]
    if "lora" not in recipe:
        return trained * shape.weights / parts
    # Quantised weights are whole in each process; the head and the embeddings are not quantised.
    ends = shape.weights - shape.layers * shape.layer
    quantised = FROZEN["nf4"] * shape.layers * shape.layer if "quantize" in recipe["lora"] else 0.0
    plain = FROZEN[recipe["dtype"]] * (ends if quantised else shape.weights)
    return quantised + (plain + trained * shape.adapter(recipe["lora"]["rank"])) / parts


def training(grid: Grid, model: Model) -> Training:
    """What a training of the run takes."""
    recipe = complete(grid.recipes.train(model))
    tokens = number_of_steps(recipe) * recipe["batch_size"] * recipe["sequence_length"]
    nodes, gpus = nodes_and_gpus(grid.settings, model.backbone)
    shape = shape_of(grid, model)
    trained = shape and (shape.adapter(recipe["lora"]["rank"]) if "lora" in recipe else shape.weights)
    speed = grid.settings.backbone(model.backbone).get("speed", {}).get("train")
    hours = tokens / speed / 3600 if speed and gpus else None
    limit = grid.resources("train", model.backbone).get("runtime", DEFAULTS["runtime"])
    return Training(
        model.id,
        tokens,
        tokens * shape.flops(recipe["sequence_length"], "lora" in recipe) if shape else None,
        hours,
        math.ceil(hours * 60 / (nodes * gpus) / limit) if hours else None,
        memory(shape, recipe, nodes, max(1, gpus)) if shape else None,
        CHECKPOINTS * (WEIGHT + MEANS[recipe.get("optimizer")]) * trained / GB if shape else None,
    )


def check_memory(grid: Grid, card: float, file: Path) -> None:
    """Refuse trainings that do not fit the GPUs, before they are submitted.

    Args:
        card: GB of a GPU; file: that says so.

    Raises:
        UserError: names the model, and what would save memory.
    """
    for model in grid.expansion.reference_models:
        if not grid.sources.is_trained(model) or not nodes_and_gpus(grid.settings, model.backbone)[1]:
            continue
        needed = training(grid, model).memory
        if needed and needed > card and not grid.layout.made(model.id).is_dir():
            raise UserError(
                f"{model.id}: its training is estimated to need {needed:.0f} GB of each GPU, and gpu.memory of {file} is "
                f"{card:g}. Set `micro_batch: 1`, `recompute: true` or `optimizer: adamw_8bit` in the recipe, or give it more GPUs."
            )
