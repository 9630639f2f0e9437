"""Gradient importance: how much the model's own loss feels each weight, and each output of a layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import onnx_ir as ir
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
    runs = _TorchRuns(model_file.load(model), samples, seed, config, has_labels=kind == "taylor")
    parameters = runs.executor.parameters
    totals = {name: np.zeros(tuple(p.shape), np.float64) for name, p in parameters.items()}
    batches = 0
    for batch, tensors in runs.iterate(batch_size):
        for parameter in parameters.values():
            parameter.grad = None
        _compute_self_loss(tensors, runs.outputs, batch, runs.generator).backward()
        batches += 1
        _accumulate_importance(totals, parameters, kind, batch.sample_count)
    return {name: (total / batches).astype(np.float32) for name, total in totals.items()}


def compute_sensitivity(
    model: ModelLike, samples: Samples, channel_axes: Mapping[str, int], batch_size: int, seed: int, config: SessionConfig
) -> dict[str, np.ndarray]:
    """See :func:`onnxslim.recovery.step.compute_output_sensitivity`."""
    runs = _TorchRuns(model_file.load(model), samples, seed, config, has_labels=False)
    reachable = {str(value.name) for node in runs.executor.model.graph for value in node.outputs}
    names = [name for name in channel_axes if name in reachable]
    totals: dict[str, np.ndarray] = {}
    sample_count = 0
    for batch, tensors in runs.iterate(batch_size, names):
        sample_count += batch.sample_count
        felt = {name: tensors[name] for name in names if tensors[name].requires_grad}
        losses = [_compute_gaussian_loss(tensors[name], runs.generator) for name in runs.outputs]
        gradients = torch.autograd.grad(torch.stack(losses).sum(), list(felt.values()), allow_unused=True)
        for name, gradient in zip(felt, gradients, strict=True):
            if gradient is not None:
                rows = gradient.movedim(channel_axes[name], -1).flatten(0, -2)
                totals[name] = totals.get(name, 0.0) + (rows.T @ rows).double().numpy()
    return {name: total / sample_count for name, total in totals.items()}


class _TorchRuns:
    """A model on torch, and the batches of samples that it is run on.

    Attributes:
        executor: The model, but for a front that torch cannot run.
        outputs: Its outputs that a gradient can come from.
        generator: Of targets that are drawn.

    Raises:
        UnsupportedError: There is nothing that a gradient reaches.
    """

    def __init__(self, model: ir.Model, samples: Samples, seed: int, config: SessionConfig, *, has_labels: bool) -> None:
        parts = partition(model)
        self.executor = TorchExecutor(parts.body)
        if not self.executor.weights:
            raise UnsupportedError("the model has no weights that a gradient reaches")
        self.outputs, inputs = self.executor.float_outputs, self.executor.inputs
        front = open_front(parts, inputs, model, config)
        cache = SampleCache(samples, seed)
        cache.labels = class_labels(cache.labels, samples.source) if has_labels else None
        self._loader = DistillationLoader(cache, TappedModel(model, [], config), front, inputs, (), seed)
        self.generator = torch.Generator().manual_seed(seed)

    def iterate(self, batch_size: int, names: Sequence[str] = ()) -> Iterator[tuple[DistillationBatch, dict[str, Tensor]]]:
        """All batches once, each with the outputs and the inner tensors called ``names``."""
        for batch in self._loader.iterate_all(batch_size):
            yield batch, self.executor.run(batch.feeds, [*self.outputs, *names])


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
            total = total + _compute_gaussian_loss(output, generator)
    return total


def _compute_gaussian_loss(output: Tensor, generator: torch.Generator) -> Tensor:
    """-log likelihood of targets around ``output``, drawn with its own root mean square as their deviation."""
    scale = output.detach().square().mean().sqrt().clamp_min(1e-12)
    error = torch.randn(output.shape, generator=generator) * scale
    return ((output - output.detach() - error) ** 2).sum() / (2 * scale**2)
