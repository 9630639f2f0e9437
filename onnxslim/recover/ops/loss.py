"""Losses that a graph may hold."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from onnxslim.recover.ops.call import Call, Op


def negative_log_likelihood(call: Call, logs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """-log p of the target class."""
    ignored = call.get("ignore_index", -100)
    return functional.nll_loss(
        logs, target.long(), weight, ignore_index=ignored, reduction=call.get("reduction", "mean")
    )


def softmax_cross_entropy(
    call: Call, scores: Tensor, target: Tensor, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The same from scores, with the logarithms beside it."""
    logs = torch.log_softmax(scores, 1)
    return negative_log_likelihood(call, logs, target, weight), logs


OPS: dict[str, Op] = {
    "NegativeLogLikelihoodLoss": negative_log_likelihood,
    "SoftmaxCrossEntropyLoss": softmax_cross_entropy,
}
