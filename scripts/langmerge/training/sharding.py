"""A model as the training computes with it: its loss in pieces, its weights spread over processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from langmerge.errors import UserError
from langmerge.training.packing import IGNORED
from langmerge.weights import weight_files

PIECE = 2**26
"""Logits that are there at once: 256 MB in float32. A sequence of 8192 has 16 times as many with
128,256 tokens.
"""

OWN, BASE = ".lora_", ".base_layer."
"""In the names of parameters: what an adapter has added, and the checkpoint's own layer under it."""

SCALED = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier_scale")
"""Settings of architectures that do more to the last hidden states than multiply them."""


class Objective(nn.Module):
    """A causal language model whose output is the summed cross entropy of a batch's labels."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Wrap a model.

        Raises:
            UserError: its logits are not plainly its head times its last hidden states.
        """
        super().__init__()
        config = model.config.get_text_config()
        if found := [name for name in SCALED if getattr(config, name, None)]:
            raise UserError(
                f"{config.model_type} scales its logits ({', '.join(found)}), which `langmerge train` cannot."
            )
        self.model = model
        if not all(parameter.requires_grad for parameter in model.parameters()):
            self.register_state_dict_post_hook(without_frozen)

    def forward(self, tokens: Tensor, labels: Tensor, positions: Tensor | None) -> Tensor:
        """The loss in nats, summed over the labels.

        Args:
            tokens, labels: int64 of shape [sequences, length]; a label is predicted by what is
                before it.
            positions: likewise, from 0 in each document; None where documents see each other.
        """
        # transformers separates documents only without a mask and without a cache.
        states = self.model.base_model(input_ids=tokens, position_ids=positions, use_cache=False).last_hidden_state
        head = self.model.get_output_embeddings()
        hidden, wanted = states[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
        return summed_loss(hidden, head.weight, getattr(head, "bias", None), wanted)


def without_frozen(objective: Objective, state: dict[str, Tensor], *_: Any) -> None:
    """Leave out of a state what is not trained: the checkpoint under an adapter."""
    trained = {name for name, parameter in objective.named_parameters() if parameter.requires_grad}
    for name in [name for name in state if name not in trained]:
        del state[name]


def summed_loss(hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
    """Cross entropy in float32, summed over the labels; in pieces, whose logits are computed again
    for the gradient, where there are many.

    torch's `linear_cross_entropy` sums in the type of the weights: in bfloat16 its sum was off by
    2%.

    Args:
        hidden: of shape [tokens, width]; weight: [vocabulary, width]; bias: [vocabulary]; labels:
            int64 of shape [tokens], `IGNORED` for those without loss.
    """

    def piece(states: Tensor, wanted: Tensor) -> Tensor:
        logits = F.linear(states, weight, bias).float()
        return F.cross_entropy(logits, wanted, ignore_index=IGNORED, reduction="sum")

    rows = max(1, PIECE // weight.shape[0])
    if hidden.shape[0] <= rows:
        return piece(hidden, labels)
    parts = zip(hidden.split(rows), labels.split(rows), strict=True)
    return torch.stack([checkpoint(piece, *part, use_reentrant=False) for part in parts]).sum()


def shard(objective: Objective, mesh: DeviceMesh, dtype: torch.dtype) -> None:
    """Spread the weights over the processes of a mesh, layer by layer.

    Weights, gradients' sums and the optimiser stay in their own type; `dtype` is that of the
    arithmetic.
    """
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    names = objective.model._no_split_modules or ()
    # Quantised weights are whole in each process: they belong to statistics that cannot be cut.
    whole = {parameter for parameter in objective.parameters() if not parameter.is_floating_point()}
    for module in objective.modules():
        if type(module).__name__ in names:
            fully_shard(module, mesh=mesh, mp_policy=policy, ignored_params=whole)
    fully_shard(objective, mesh=mesh, mp_policy=policy, ignored_params=whole)


def read_weights(model: PreTrainedModel, folder: Path) -> None:
    """Give a model the weights of a checkpoint; each process reads all tensors, one after another,
    and keeps its own part of each. An adapter beside them stays as it is.

    Raises:
        UserError: the checkpoint's tensors are not the model's.
    """
    own = {name: parameter for name, parameter in model.named_parameters() if OWN not in name}
    wanted = {name.replace(BASE, "."): parameter for name, parameter in own.items()}
    buffers = (name for name, _ in model.named_buffers())
    known = {name.replace(BASE, ".") for name in (*model.state_dict(), *buffers)}
    missing = {*wanted}
    for file in weight_files(folder):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a dictionary)
                if name in wanted:
                    fill(wanted[name], tensors.get_tensor(name), name, folder)
                    missing.remove(name)
                elif name not in known:
                    raise UserError(
                        f"`from`: {folder}: the tensor {name} is none of {type(model).__name__}, so it is not known "
                        "where it belongs. Save the checkpoint with the current transformers first."
                    )
    if missing:
        raise UserError(
            f"`from`: {folder} holds no checkpoint of {type(model).__name__}: {min(missing)} is missing. Download it again."
        )


@torch.no_grad()
def fill(parameter: Tensor, value: Tensor, name: str, folder: Path) -> None:
    """Copy a tensor, or this process's part of it, into a parameter."""
    if parameter.shape != value.shape:
        raise UserError(
            f"`from`: {folder}: {name} has the shape {tuple(value.shape)}, and its config.json says {tuple(parameter.shape)}."
        )
    if isinstance(parameter, DTensor):
        part = distribute_tensor(value.float(), parameter.device_mesh, parameter.placements, src_data_rank=None)
        parameter.to_local().copy_(part.to_local())
    else:
        parameter.copy_(value)
