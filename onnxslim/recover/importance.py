"""Gradient importance: how much the model's own loss feels each weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from onnxslim import io
from onnxslim.data.samples import Samples
from onnxslim.errors import UnsupportedError, UsageError
from onnxslim.graph import shapes
from onnxslim.io import ModelLike
from onnxslim.recover.executor import Executor
from onnxslim.recover.lessons import Lesson, Lessons
from onnxslim.recover.losses import is_distribution, is_scores, log_shares
from onnxslim.recover.partition import partition
from onnxslim.recover.pool import Pool, class_labels
from onnxslim.recover.reference import Source
from onnxslim.runtime.session import SessionConfig


def scores(
    model: ModelLike,
    samples: Samples,
    kind: Literal["taylor", "fisher"],
    batch_size: int,
    seed: int,
    config: SessionConfig,
) -> dict[str, np.ndarray]:
    """See :func:`onnxslim.recover.gradients`."""
    if kind not in ("taylor", "fisher"):
        raise UsageError(f"no gradient importance {kind}", hint="taylor or fisher")
    given = io.load(model)
    parts = partition(given)
    executor = Executor(parts.body)
    if not executor.weights:
        raise UnsupportedError("the model has no weights that a gradient reaches")
    own = {value.name for value in shapes.inputs(given)}
    head = (
        None
        if parts.head is None
        else Source(parts.head, [n for n in executor.inputs if n not in own], config)
    )
    pool = Pool(samples, seed)
    pool.labels = class_labels(pool.labels, samples.source) if kind == "taylor" else None
    lessons = Lessons(pool, Source(given, [], config), head, executor.inputs, (), seed)
    outputs = executor.float_outputs
    generator = torch.Generator().manual_seed(seed)
    totals = {name: np.zeros(tuple(p.shape), np.float64) for name, p in executor.parameters.items()}
    batches = 0
    for lesson in lessons.every(batch_size):
        for parameter in executor.parameters.values():
            parameter.grad = None
        found = executor.run(lesson.feeds, outputs)
        _own_loss(found, outputs, lesson, generator).backward()
        batches += 1
        _add(totals, executor.parameters, kind, _count(lesson))
    return {name: (total / batches).astype(np.float32) for name, total in totals.items()}


def _add(
    totals: Mapping[str, np.ndarray], parameters: Mapping[str, torch.nn.Parameter], kind: str, count: int
) -> None:
    for name, parameter in parameters.items():
        if parameter.grad is None:
            continue
        weight, slope = parameter.detach().double().numpy(), parameter.grad.double().numpy()
        # The loss is a sum over the batch. Targets drawn from the model itself give each sample a gradient of mean
        # zero, so the square of the sum is, on average, the sum of the squares: one backward pass serves a batch.
        totals[name][...] += (
            np.abs(weight * slope) / count if kind == "taylor" else 0.5 * (weight * slope) ** 2 / count
        )


def _own_loss(
    found: Mapping[str, Tensor], outputs: Sequence[str], lesson: Lesson, generator: torch.Generator
) -> Tensor:
    """-log likelihood, summed over the batch, of the labels or of targets drawn from the model's own prediction."""
    total = torch.zeros(())
    labels = lesson.labels
    for name in outputs:
        output = found[name]
        if is_scores(output.detach()):
            logs = log_shares(output, is_distribution(output.detach()))
            drawn = torch.multinomial(logs.detach().exp(), 1, generator=generator).reshape(-1)
            total = total + functional.nll_loss(logs, drawn if labels is None else labels, reduction="sum")
            labels = None
        else:
            spread = output.detach().square().mean().sqrt().clamp_min(1e-12)
            error = torch.randn(output.shape, generator=generator) * spread
            total = total + ((output - output.detach() - error) ** 2).sum() / (2 * spread**2)
    return total


def _count(lesson: Lesson) -> int:
    return max((len(tensor) for tensor in lesson.feeds.values() if tensor.dim()), default=1)
