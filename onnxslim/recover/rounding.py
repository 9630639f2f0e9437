"""AdaRound: which of its two nearest codes each weight takes, learnt layer by layer (arXiv:2004.10568)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from onnxslim import io
from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.errors import InvalidDataError
from onnxslim.graph import shapes
from onnxslim.io import ModelLike
from onnxslim.progress import Progress
from onnxslim.recover.executor import Executor
from onnxslim.recover.partition import extract
from onnxslim.recover.pool import Pool
from onnxslim.recover.reference import Source
from onnxslim.recover.tensors import BOUNDS, to_torch
from onnxslim.recover.weights import Weight, find_weights
from onnxslim.runtime.session import SessionConfig

#: Bytes of one layer's inputs that are kept; the batch of samples is cut to that.
_BYTES = 256 << 20
#: The rectified sigmoid reaches a little beyond 0 and 1, so that it can rest on them.
_LOW, _HIGH = -0.1, 1.1
#: The pull towards 0 or 1 begins after this share of the updates; its exponent falls between these.
_FREE, _EXPONENTS = 0.2, (20.0, 2.0)
_RATE = 1e-2
#: Layers that sum products of weights and inputs.
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class _Layer:
    """One layer on its own: ``run(x, w)`` for an input and dequantised weights."""

    node: ir.Node
    data: str
    weights: str
    executor: Executor

    def run(self, x: Tensor, w: Tensor) -> Tensor:
        output = str(self.node.outputs[0].name)
        return self.executor.run({self.data: x, self.weights: w}, [output])[output]


def adaround(
    model: ModelLike,
    weights: Mapping[str, np.ndarray],
    samples: Samples,
    iterations: int,
    batch_size: int,
    max_samples: int,
    seed: int,
    config: SessionConfig,
    progress: Progress,
) -> tuple[ir.Model, Account]:
    """See :func:`onnxslim.recover.round_weights`."""
    account = Account("rounding")
    with account.timed():
        result = io.load(model)
        known = io.clone(result)
        shapes.infer(known)
        held = find_weights(known.graph)
        pool = Pool(samples.take(np.arange(min(len(samples), max_samples))), seed)
        errors: dict[str, list[float]] = {}
        for i, (name, float_weight) in enumerate(weights.items()):
            progress("rounding", i, len(weights))
            weight = held.get(name)
            layer = None if weight is None else _layer(known, name)
            if weight is None or weight.scale is None or layer is None:
                account.decline(name, "not the quantised weight of one Conv, Gemm or MatMul")
                continue
            _check(weight, float_weight)
            x = _inputs(known, layer, pool, config)
            learnt = _learn(layer, weight, float_weight, x, iterations, batch_size, seed)
            errors[name] = learnt.errors
            if learnt.errors[1] >= learnt.errors[0]:
                account.decline(name, "no rounding came nearer to the float layer")
                continue
            dtype = result.graph.initializers[name].const_value
            assert dtype is not None
            result.graph.initializers[name].const_value = ir.tensor(
                learnt.codes, dtype=dtype.dtype, name=name
            )
            account.count("layers rounded anew")
        progress("rounding", len(weights), len(weights))
        account.details["layer_error"] = {k: {"before": a, "after": b} for k, (a, b) in errors.items()}
    return result, account


def _layer(model: ir.Model, name: str) -> _Layer | None:
    """The one layer that reads the weight ``name`` through its DequantizeLinear."""
    uses = list(model.graph.initializers[name].uses())
    if len(uses) != 1:
        return None
    plain = uses[0].node.outputs[0]
    readers = list(plain.uses())
    if len(readers) != 1 or readers[0].node.op_type not in _LAYERS or readers[0].idx > 1:
        return None
    node = readers[0].node
    data = node.inputs[1 - readers[0].idx]
    if data is None or data.is_initializer():
        return None
    part = extract(model, [str(data.name), str(plain.name)], [str(node.outputs[0].name)])
    return _Layer(node, str(data.name), str(plain.name), Executor(part, trainable=False))


def _check(weight: Weight, float_weight: np.ndarray) -> None:
    if float_weight.shape != tuple(weight.parameter.shape):
        raise InvalidDataError(
            f"{weight.name}: float weights of shape {float_weight.shape}, codes of {tuple(weight.parameter.shape)}"
        )


def _inputs(model: ir.Model, layer: _Layer, pool: Pool, config: SessionConfig) -> Tensor:
    """What the layer is fed in the quantised model, as much of it as fits."""
    source = Source(model, [layer.data], config)
    found: list[np.ndarray] = []
    for feeds, _ in pool.all(16):
        found.append(source(feeds)[layer.data] if layer.data not in feeds else feeds[layer.data])
        if sum(array.nbytes for array in found) > _BYTES:
            break
    return to_torch(np.concatenate(found))


@dataclass(frozen=True)
class _Learnt:
    """New codes, and the layer's relative error on inputs not learnt from: [as it was, with these]."""

    codes: np.ndarray
    errors: list[float]


def _learn(
    layer: _Layer,
    weight: Weight,
    float_weight: np.ndarray,
    x: Tensor,
    iterations: int,
    batch_size: int,
    seed: int,
) -> _Learnt:
    assert weight.scale is not None
    assert weight.zero is not None
    scale, zero, (low, high) = weight.scale, weight.zero, BOUNDS[weight.dtype]
    wanted = to_torch(float_weight).float()
    below = torch.floor(wanted / scale)
    share = (wanted / scale - below).clamp(1e-4, 1 - 1e-4)
    logit = torch.logit((share - _LOW) / (_HIGH - _LOW)).requires_grad_()

    def soft() -> Tensor:
        return torch.clamp(torch.sigmoid(logit) * (_HIGH - _LOW) + _LOW, 0, 1)

    def dequantised(up: Tensor) -> Tensor:
        return (torch.clamp(below + up + zero, low, high) - zero) * scale

    taught = max(1, int(0.8 * len(x)))
    held = x[taught:] if taught < len(x) else x
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        nearest = dequantised((share > 0.5).float())
        start = ((layer.run(x[:taught], nearest) - layer.run(x[:taught], wanted)) ** 2).mean()
    optimizer = torch.optim.Adam([logit], lr=_RATE)
    for step in range(iterations):
        chosen = torch.randint(taught, (min(batch_size, taught),), generator=generator)
        with torch.no_grad():
            target = layer.run(x[chosen], wanted)
        up = soft()
        loss = ((layer.run(x[chosen], dequantised(up)) - target) ** 2).mean() / start.clamp_min(1e-20)
        done = step / iterations
        if done > _FREE:
            exponent = _EXPONENTS[0] + (_EXPONENTS[1] - _EXPONENTS[0]) * (done - _FREE) / (1 - _FREE)
            loss = loss + (1 - (2 * up - 1).abs() ** exponent).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        hard = (soft() > 0.5).float()
        target = layer.run(held, wanted)
        errors = [
            float(((layer.run(held, w) - target) ** 2).sum() / (target**2).sum().clamp_min(1e-20))
            for w in (weight.parameter.detach(), dequantised(hard))
        ]
        codes = torch.clamp(below + hard + zero, low, high)
    return _Learnt(np.ascontiguousarray(codes.numpy().astype(weight.dtype.numpy())), errors)
