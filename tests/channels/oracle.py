"""The oracle: removing units equals setting to zero what their consumers' weights read of them.

It needs no data, no accuracy and no knowledge of the ops: whatever a rule or the rewriter gets wrong shows as a model
that the runtime refuses or as outputs that differ.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxslim.channels.analysis import units
from onnxslim.channels.rewrite import remove
from onnxslim.channels.units import Analysis
from onnxslim.graph import constants, shapes
from onnxslim.runtime.session import Session, SessionConfig

PLAIN = SessionConfig(optimize=False)

#: A saturated sigmoid, which computes with numbers around 1, is this far off however small its result is.
ROUNDING = 2 * float(np.finfo(np.float32).eps)


def random_sets(analysis: Analysis, count: int, seed: int) -> Iterator[np.ndarray]:
    """``count`` random masks of removable units, from a few per cent of them to nearly all."""
    rng = np.random.default_rng(seed)
    for share in rng.uniform(0.05, 0.9, count):
        yield analysis.spare(rng.random(len(analysis)) < share)


def single_sets(analysis: Analysis) -> Iterator[np.ndarray]:
    """The first, the middle and the last unit alone: what is counted from an end shows when only that end moves."""
    for unit in sorted({0, analysis.count // 2, analysis.count - 1} & set(range(analysis.count))):
        yield analysis.mask([unit])


def feeds(model: ir.Model, seed: int, dims: dict[str, int] | None = None) -> dict[str, np.ndarray]:
    """Random inputs: normal floats, small integers."""
    rng = np.random.default_rng(seed)
    found = {}
    for value in shapes.inputs(model):
        size = shapes.sizes(value, dims)
        dtype = value.dtype.numpy() if value.dtype is not None else np.dtype(np.float32)
        if np.issubdtype(dtype, np.floating):
            found[value.name or ""] = rng.standard_normal(size).astype(dtype)
        else:
            found[value.name or ""] = rng.integers(0, 2, size).astype(dtype)
    return found


def zeroed(model: ir.Model, analysis: Analysis, mask: np.ndarray) -> ir.Model:
    """``model`` at full size, with every consumer deaf to the channels of the units in ``mask``."""
    result = model.clone()
    nodes = list(result.graph)
    for number, consumer in enumerate(analysis.consumers):
        node = nodes[consumer.node]
        if consumer.weight is not None:
            keep = analysis.keep(consumer.weight.labels, mask)
            _mask_input(result, node, consumer.weight.input, consumer.weight.axis, keep, number)
        else:
            keep = analysis.keep(consumer.labels, mask)
            _mask_input(result, node, consumer.input, consumer.axis, keep, number)
    return result


def difference(model: ir.Model, analysis: Analysis, mask: np.ndarray, inputs: dict[str, np.ndarray]) -> float:
    """The largest max|a - b| / max|a| over the outputs of the zeroed (a) and the pruned (b) model."""
    pruned, _ = remove(model, mask, analysis)
    expected = Session(zeroed(model, analysis, mask), PLAIN).run(inputs)
    actual = Session(pruned, PLAIN).run(inputs)
    worst = 0.0
    for name, value in expected.items():
        assert actual[name].shape == value.shape, f"{name}: {actual[name].shape} instead of {value.shape}"
        worst = max(worst, distance(value, actual[name]))
    return worst


def distance(one: np.ndarray, two: np.ndarray) -> float:
    """max|a - b| / max|a|, rounding around 1 aside; infinite where what is not finite differs."""
    a, b = one.astype(np.float64), two.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(b[finite]).all():
        return float("inf")
    apart = np.abs(a[finite] - b[finite]).max(initial=0.0) - ROUNDING
    return float(max(0.0, apart) / (np.abs(a[finite]).max(initial=0.0) or 1.0))


def assert_exact(
    model: ir.Model, *, sets: int = 3, seed: int = 0, dims: dict[str, int] | None = None, tolerance: float = 1e-4
) -> Analysis:
    """Remove ``sets`` random sets of units, each held against the zeroed model; returns the analysis."""
    analysis = units(model)
    inputs = feeds(model, seed, dims)
    for number, mask in enumerate([*random_sets(analysis, sets, seed), *single_sets(analysis)]):
        worst = difference(model, analysis, mask, inputs)
        assert worst <= tolerance, f"set {number} ({int(mask.sum())} of {len(mask)} units): off by {worst:.2g}"
    return analysis


def _mask_input(model: ir.Model, node: ir.Node, i: int, axis: int, keep: np.ndarray, number: int) -> None:
    if keep.all():
        return
    value = node.inputs[i]
    assert value is not None
    array = constants.constant(value)
    if array is None:
        inferred = model.clone()
        shapes.infer(inferred)
        dims = shapes.dims(next(v for n in inferred.graph for v in n.outputs if v.name == value.name)) or ()
        rank, size = len(dims), dims[axis]
        if isinstance(size, int):
            keep = np.tile(keep, size // len(keep))  # a grouped convolution's consumer speaks of one group
    else:
        rank = array.ndim
    dtype = array.dtype if array is not None else np.dtype(np.float32)
    mask = keep.reshape([-1 if a == axis else 1 for a in range(rank)])
    new = ir.tensor(array * mask.astype(dtype) if array is not None else mask.astype(dtype), name=f"oracle_{number}")
    constant = ir.Value(name=new.name, const_value=new, shape=ir.Shape(new.shape), type=ir.TensorType(new.dtype))
    model.graph.register_initializer(constant)
    if array is not None:
        node.replace_input_with(i, constant)
        return
    masked = ir.node("Mul", [value, constant])
    masked.name = masked.outputs[0].name = f"oracle_masked_{number}"
    model.graph.insert_before(node, masked)
    node.replace_input_with(i, masked.outputs[0])
