"""Replacing the weights of a model that transformers has loaded, in its own memory."""

from __future__ import annotations

from typing import Any

import torch

from langmerge.errors import UserError
from langmerge.evaluation.engines.protocol import Weights

ON_DISK = "transformers keeps this architecture's weights otherwise than its files do: set `merges: disk` in the run."
HEAD = "lm_head.weight"


@torch.no_grad()
def replace_weights(model: Any, weights: Weights) -> None:
    """Write weights into a model's own memory, as loading a checkpoint with them would.

    Raises:
        UserError: the model has no such weight, or in another shape; or it has weights besides.
    """
    own = model.state_dict(keep_vars=True)
    taken = set()
    for name, tensor, data in weights.tensors():
        if name not in own or tuple(own[name].shape) != tuple(tensor.shape):
            found = f"it is {[*own[name].shape]}" if name in own else "there is no such weight"
            raise UserError(f"{name} {[*tensor.shape]} cannot be put into the loaded model: {found}. {ON_DISK}")
        own[name].copy_(torch.from_numpy(data).view(getattr(torch, tensor.dtype.name)).reshape(tensor.shape))
        taken.add(own[name].data_ptr())
    left = [name for name, weight in own.items() if weight.data_ptr() not in taken]
    if left == [HEAD] and model.config.tie_word_embeddings:
        # The checkpoint that was loaded stores a head of its own, and the new weights do not.
        model.get_output_embeddings().weight = model.get_input_embeddings().weight
    elif left:
        raise UserError(f"the new weights lack {', '.join(left[:3])}, which the loaded model has. {ON_DISK}")
