"""AdamW whose two means take 8 bits a weight in place of 32: Dettmers et al. 2021, arXiv
2110.02861.

bitsandbytes computes the steps. Its own optimisers are not used: they do not know DTensors, as far
as their code says, and their blocks of 256 weights cross the rows of a matrix, so that a checkpoint
could not be read by another number of processes. Only a recipe with this optimiser imports this
module: bitsandbytes takes seconds to load.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from bitsandbytes.functional import create_dynamic_map, optimizer_update_8bit_blockwise, optimizer_update_32bit
from torch import Tensor
from torch.distributed.tensor import DTensor

BLOCK = 256
"""Weights in a row that share a scale."""


class AdamW8bit(torch.optim.Optimizer):
    """AdamW with means in 8 bits of the matrices whose rows are whole blocks, and in float32 of all
    else: of biases, norms' scales, and narrow matrices.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float = 1e-8) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})
        device = groups[0]["params"][0].device
        self.codes = [create_dynamic_map(signed=signed).to(device) for signed in (True, False)]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update(parameter, group)

    def update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter] or self.begin(parameter)
        state["step"] += 1
        mine = {name: local(tensor) for name, tensor in state.items()}
        (first, second), eps, rate, decay = group["betas"], group["eps"], group["lr"], group["weight_decay"]
        weights, gradient, step = local(parameter), local(parameter.grad), int(state["step"])
        if not len(weights):
            return  # more processes than rows
        if "mean_scale" in state:
            optimizer_update_8bit_blockwise(
                "adam",
                gradient,
                weights,
                mine["mean"],
                mine["square"],
                first,
                second,
                0.0,
                0.0,
                eps,
                step,
                rate,
                *self.codes,
                mine["mean_scale"].view(-1),
                mine["square_scale"].view(-1),
                decay,
            )
        else:
            optimizer_update_32bit(
                "adam",
                gradient,
                weights,
                mine["mean"],
                first,
                eps,
                step,
                rate,
                mine["square"],
                second,
                weight_decay=decay,
            )

    def begin(self, parameter: Tensor) -> dict[str, Tensor]:
        """The state before the first step. It is spread over the processes as the parameter is."""
        in_blocks = parameter.ndim > 1 and parameter.shape[-1] % BLOCK == 0
        state = self.state[parameter]
        state["step"] = torch.tensor(0)
        for mean in ("mean", "square"):
            state[mean] = torch.zeros_like(parameter, dtype=torch.uint8 if in_blocks else torch.float32)
            if in_blocks:
                state[f"{mean}_scale"] = torch.zeros_like(parameter[..., ::BLOCK], dtype=torch.float32)
        return state


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
