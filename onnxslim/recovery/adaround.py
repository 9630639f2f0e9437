"""AdaRound: which of its two nearest codes each weight takes, learnt layer by layer (arXiv:2004.10568)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from onnxslim.activations.run_context import RunContext
from onnxslim.core.errors import InvalidDataError
from onnxslim.core.step_report import StepReport
from onnxslim.graph import shapes
from onnxslim.graph.layers import LAYER_OPS
from onnxslim.model_io import model_file
from onnxslim.model_io.model_file import ModelLike
from onnxslim.recovery.distillation.sample_cache import SampleCache
from onnxslim.recovery.distillation.teacher import TappedModel
from onnxslim.recovery.tensor_conversion import INTEGER_BOUNDS, to_torch
from onnxslim.recovery.torch_model.executor import TorchExecutor
from onnxslim.recovery.torch_model.partition import extract_subgraph
from onnxslim.recovery.torch_model.trainable_weights import TrainableWeight, find_weights
from onnxslim.runtime.session import SessionConfig

#: Bytes of one layer's inputs that are kept; the batch of samples is cut to that.
_MAX_INPUT_BYTES = 256 << 20
#: The rectified sigmoid reaches a little beyond 0 and 1, so that it can rest on them.
_STRETCH_LOW, _STRETCH_HIGH = -0.1, 1.1
#: The pull towards 0 or 1 begins after this share of the updates; its exponent falls between these.
_WARM_START_SHARE, _BETA_RANGE = 0.2, (20.0, 2.0)
_LEARNING_RATE = 1e-2


@dataclass(frozen=True)
class _RoundedLayer:
    """One layer on its own: ``run(x, w)`` for an input and dequantised weights."""

    node: ir.Node
    input_name: str
    weight_name: str
    executor: TorchExecutor

    def run(self, x: Tensor, w: Tensor) -> Tensor:
        output = str(self.node.outputs[0].name)
        return self.executor.run({self.input_name: x, self.weight_name: w}, [output])[output]


def adaround(
    model: ModelLike,
    context: RunContext,
    weights: Mapping[str, np.ndarray],
    *,
    iterations: int,
    batch_size: int,
    max_samples: int,
    seed: int,
) -> tuple[ir.Model, StepReport]:
    """See :func:`onnxslim.recovery.step.round_weights`."""
    report, samples = StepReport("rounding"), context.require_samples("rounding")
    with report.timed():
        result = model_file.load(model)
        shaped = model_file.clone(result)
        shapes.infer(shaped)
        trainable = find_weights(shaped.graph)
        cache = SampleCache(samples.take(np.arange(samples.round_to_runs(max_samples))), seed)
        errors: dict[str, list[float]] = {}
        for i, (name, float_weight) in enumerate(weights.items()):
            context.progress("rounding", i, len(weights))
            weight = trainable.get(name)
            layer = None if weight is None else _find_layer(shaped, name)
            if weight is None or weight.scale is None or layer is None:
                report.skip(name, "not the quantised weight of one Conv, Gemm or MatMul")
                continue
            if float_weight.shape != tuple(weight.parameter.shape):
                shape = tuple(weight.parameter.shape)
                raise InvalidDataError(f"{name}: float weights of shape {float_weight.shape}, codes of {shape}")
            x = _collect_inputs(shaped, layer, cache, context.config)
            codes, errors[name] = _learn_rounding(
                layer, weight, float_weight, x, iterations=iterations, batch_size=batch_size, seed=seed
            )
            if errors[name][1] >= errors[name][0]:
                report.skip(name, "no rounding came nearer to the float layer")
                continue
            tensor = result.graph.initializers[name].const_value
            assert tensor is not None
            result.graph.initializers[name].const_value = ir.tensor(codes, dtype=tensor.dtype, name=name)
            report.count("layers rounded anew")
        context.progress("rounding", len(weights), len(weights))
        report.details["layer_error"] = {k: {"before": a, "after": b} for k, (a, b) in errors.items()}
    return result, report


def _find_layer(model: ir.Model, name: str) -> _RoundedLayer | None:
    """The one layer that reads the weight ``name`` through its DequantizeLinear."""
    uses = list(model.graph.initializers[name].uses())
    if len(uses) != 1:
        return None
    dequantized = uses[0].node.outputs[0]
    readers = list(dequantized.uses())
    if len(readers) != 1 or readers[0].node.op_type not in LAYER_OPS or readers[0].idx > 1:
        return None
    node = readers[0].node
    data = node.inputs[1 - readers[0].idx]
    if data is None or data.is_initializer():
        return None
    submodel = extract_subgraph(model, [str(data.name), str(dequantized.name)], [str(node.outputs[0].name)])
    return _RoundedLayer(node, str(data.name), str(dequantized.name), TorchExecutor(submodel, trainable=False))


def _collect_inputs(model: ir.Model, layer: _RoundedLayer, cache: SampleCache, config: SessionConfig) -> Tensor:
    """What the layer is fed in the quantised model, as much of it as fits."""
    tapped = TappedModel(model, [layer.input_name], config)
    arrays: list[np.ndarray] = []
    for feeds, _ in cache.iterate_all(16):
        arrays.append(tapped(feeds)[layer.input_name] if layer.input_name not in feeds else feeds[layer.input_name])
        if sum(array.nbytes for array in arrays) > _MAX_INPUT_BYTES:
            break
    return to_torch(np.concatenate(arrays))


def _learn_rounding(
    layer: _RoundedLayer,
    weight: TrainableWeight,
    float_weight: np.ndarray,
    x: Tensor,
    *,
    iterations: int,
    batch_size: int,
    seed: int,
) -> tuple[np.ndarray, list[float]]:
    """New codes, and the layer's relative error on inputs not learnt from: [as it was, with these]."""
    assert weight.scale is not None
    assert weight.zero_point is not None
    scale, zero, (low, high) = weight.scale, weight.zero_point, INTEGER_BOUNDS[weight.dtype]
    float_values = to_torch(float_weight).float()
    lower = torch.floor(float_values / scale)
    fraction = (float_values / scale - lower).clamp(1e-4, 1 - 1e-4)
    logit = torch.logit((fraction - _STRETCH_LOW) / (_STRETCH_HIGH - _STRETCH_LOW)).requires_grad_()

    def compute_soft_rounding() -> Tensor:
        return torch.clamp(torch.sigmoid(logit) * (_STRETCH_HIGH - _STRETCH_LOW) + _STRETCH_LOW, 0, 1)

    def dequantize(rounding: Tensor) -> Tensor:
        return (torch.clamp(lower + rounding + zero, low, high) - zero) * scale

    train_count = max(1, int(0.8 * len(x)))
    held_out = x[train_count:] if train_count < len(x) else x
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        nearest = dequantize((fraction > 0.5).float())
        nearest_error = ((layer.run(x[:train_count], nearest) - layer.run(x[:train_count], float_values)) ** 2).mean()
    optimizer = torch.optim.Adam([logit], lr=_LEARNING_RATE)
    for step in range(iterations):
        batch_indices = torch.randint(train_count, (min(batch_size, train_count),), generator=generator)
        with torch.no_grad():
            target = layer.run(x[batch_indices], float_values)
        rounding = compute_soft_rounding()
        loss = ((layer.run(x[batch_indices], dequantize(rounding)) - target) ** 2).mean() / nearest_error.clamp_min(1e-20)
        progress = step / iterations
        if progress > _WARM_START_SHARE:
            first, last = _BETA_RANGE
            beta = first + (last - first) * (progress - _WARM_START_SHARE) / (1 - _WARM_START_SHARE)
            loss = loss + (1 - (2 * rounding - 1).abs() ** beta).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        hard_rounding = (compute_soft_rounding() > 0.5).float()
        target = layer.run(held_out, float_values)
        errors = [
            float(((layer.run(held_out, w) - target) ** 2).sum() / (target**2).sum().clamp_min(1e-20))
            for w in (weight.parameter.detach(), dequantize(hard_rounding))
        ]
        codes = torch.clamp(lower + hard_rounding + zero, low, high)
    return np.ascontiguousarray(codes.numpy().astype(weight.dtype.numpy())), errors
