"""Losses that a graph may hold."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from onnxslim.recovery.ops.call import Call, OpFunction


def negative_log_likelihood(call: Call, logs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """-log p of the target class."""
    ignored = call.get("ignore_index", -100)
    return functional.nll_loss(logs, target.long(), weight, ignore_index=ignored, reduction=call.get("reduction", "mean"))


def softmax_cross_entropy(call: Call, scores: Tensor, target: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Cross-entropy of class scores, and their log-probabilities as the second output."""
    logs = torch.log_softmax(scores, 1)
    return negative_log_likelihood(call, logs, target, weight), logs


OPS: dict[str, OpFunction] = {
    "NegativeLogLikelihoodLoss": negative_log_likelihood,
    "SoftmaxCrossEntropyLoss": softmax_cross_entropy,
}
