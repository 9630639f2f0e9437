"""Gradient importance: how much the model's own loss feels each weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.data.samples import Samples
from onnxslim.model_io import model_file
from onnxslim.model_io.model_file import ModelLike
from onnxslim.recovery.distillation.batches import DistillationBatch, DistillationLoader
from onnxslim.recovery.distillation.losses import is_class_scores, is_distribution, log_probabilities
from onnxslim.recovery.distillation.sample_cache import SampleCache, class_labels
from onnxslim.recovery.distillation.teacher import TappedModel, open_front
from onnxslim.recovery.torch_model.executor import TorchExecutor
from onnxslim.recovery.torch_model.partition import partition
from onnxslim.runtime.session import SessionConfig


def compute_importance(
    model: ModelLike,
    samples: Samples,
    kind: Literal["taylor", "fisher"],
    batch_size: int,
    seed: int,
    config: SessionConfig,
) -> dict[str, np.ndarray]:
    """See :func:`onnxslim.recovery.step.compute_gradient_importance`."""
    if kind not in ("taylor", "fisher"):
        raise UsageError(f"no gradient importance {kind}", hint="taylor or fisher")
    input_model = model_file.load(model)
    parts = partition(input_model)
    executor = TorchExecutor(parts.body)
    if not executor.weights:
        raise UnsupportedError("the model has no weights that a gradient reaches")
    front = open_front(parts, executor.inputs, input_model, config)
    cache = SampleCache(samples, seed)
    cache.labels = class_labels(cache.labels, samples.source) if kind == "taylor" else None
    loader = DistillationLoader(cache, TappedModel(input_model, [], config), front, executor.inputs, (), seed)
    outputs = executor.float_outputs
    generator = torch.Generator().manual_seed(seed)
    totals = {name: np.zeros(tuple(p.shape), np.float64) for name, p in executor.parameters.items()}
    batches = 0
    for batch in loader.iterate_all(batch_size):
        for parameter in executor.parameters.values():
            parameter.grad = None
        tensors = executor.run(batch.feeds, outputs)
        _compute_self_loss(tensors, outputs, batch, generator).backward()
        batches += 1
        _accumulate_importance(totals, executor.parameters, kind, batch.sample_count)
    return {name: (total / batches).astype(np.float32) for name, total in totals.items()}


def _accumulate_importance(
    totals: Mapping[str, np.ndarray], parameters: Mapping[str, torch.nn.Parameter], kind: str, count: int
) -> None:
    for name, parameter in parameters.items():
        if parameter.grad is None:
            continue
        weight, gradient = parameter.detach().double().numpy(), parameter.grad.double().numpy()
        # The loss is a sum over the batch. Targets drawn from the model itself give each sample a gradient of mean
        # zero, so the square of the sum is, on average, the sum of the squares: one backward pass serves a batch.
        totals[name][...] += (
            np.abs(weight * gradient) / count if kind == "taylor" else 0.5 * (weight * gradient) ** 2 / count
        )


def _compute_self_loss(
    tensors: Mapping[str, Tensor], outputs: Sequence[str], batch: DistillationBatch, generator: torch.Generator
) -> Tensor:
    """-log likelihood, summed over the batch, of the labels or of targets drawn from the model's own prediction."""
    total = torch.zeros(())
    labels = batch.labels
    for name in outputs:
        output = tensors[name]
        if is_class_scores(output.detach()):
            logs = log_probabilities(output, is_distribution(output.detach()))
            sampled = torch.multinomial(logs.detach().exp(), 1, generator=generator).reshape(-1)
            total = total + functional.nll_loss(logs, sampled if labels is None else labels, reduction="sum")
            labels = None
        else:
            scale = output.detach().square().mean().sqrt().clamp_min(1e-12)
            error = torch.randn(output.shape, generator=generator) * scale
            total = total + ((output - output.detach() - error) ** 2).sum() / (2 * scale**2)
    return total
