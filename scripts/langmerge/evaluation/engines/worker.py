"""What each of vLLM's processes can do besides (`worker_extension_cls`)."""

from __future__ import annotations

from typing import Any

import torch

from langmerge.evaluation.engines.protocol import Weights
from langmerge.evaluation.engines.watchdog import end_with_parent

TAKE = "take_weights"
"""The name of the method below, for `collective_rpc`."""


class Worker:
    """Is mixed into vLLM's own worker, whose `model_runner` it uses."""

    model_runner: Any

    def take_weights(self, weights: Weights) -> Any:
        """Replace the model's weights, see `protocol.Engine.take`.

        vLLM copies them into the memory that is there, so that captured CUDA graphs stay valid. It
        does not load a head that is tied to the embeddings; on CPUs that has a packed copy of them,
        which would stay what it was.
        """
        self.model_runner.reload_weights(
            weights_iterator=(
                (name, torch.from_numpy(data).view(getattr(torch, tensor.dtype.name)).reshape(tensor.shape))
                for name, tensor, data in weights.tensors()
            )
        )
        from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod

        for module in self.model_runner.get_model().modules():
            method = getattr(module, "quant_method", None)
            if isinstance(method, UnquantizedEmbeddingMethod):
                method.process_weights_after_loading(module)
        return weights.outcome()


end_with_parent()
