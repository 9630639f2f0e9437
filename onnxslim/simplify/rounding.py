"""Whether a model bears being rounded differently.

Folding a BatchNormalization into a Conv is exact in the reals and moves the last bits in float32. A network that
saturates (a sigmoid far out on its tail) can turn those bits into percents of its largest output. No rule sees that
locally, so the step measures it once: both forms run unoptimised on one seeded random input, if that is sure to be
small and to end.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.errors import OnnxslimError
from onnxslim.graph import shapes
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.simplify.evaluate import nbytes
from onnxslim.simplify.nested import walk

#: max|a - b| / max|a| above which two outputs are not equal (the contract's "equal"), and with half-precision weights.
TOLERANCE = 1e-4
SHORT_TOLERANCE = 1e-2
SHORT = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)

#: Bytes of weights, and of all tensors computed on the way, up to which a model is run.
MAX_WEIGHTS = 500_000_000
MAX_TENSORS = 1 << 30

#: Sizes tried for free dimensions, until the model runs: 1 (and 224 for images), then something divisible.
FREE_SIZES = (None, 64, 512)

#: A loop may not end.
LOOPS = ("Loop", "Scan")


def tolerance(model: ir.Model) -> float:
    """Up to which difference two forms of ``model`` count as equal."""
    constants = (value.const_value for value in model.graph.initializers.values())
    return SHORT_TOLERANCE if any(c is not None and c.dtype in SHORT for c in constants) else TOLERANCE


def runs_small(model: ir.Model) -> bool:
    """Whether ``model`` is sure to end, and to compute nothing large on the way, for some size of its free dimensions."""
    return not _endless(model) and any(_feeds(model, size) is not None for size in FREE_SIZES)


def difference(before: ir.Model, after: ir.Model, weights: int) -> float | None:
    """The largest max|a - b| / max|a| over the float outputs; None when ``before`` is too large or does not run."""
    if weights > MAX_WEIGHTS or _endless(before):
        return None
    plain = SessionConfig(optimize=False)
    try:
        one, other = Session(_free(before), plain), Session(_free(after), plain)
        for size in FREE_SIZES:
            feeds = _feeds(before, size)
            if feeds is None:
                continue
            try:
                expected = one.run(feeds)
            except OnnxslimError:
                continue
            found = other.run(feeds)
            return max((_relative(expected[name], found[name]) for name in expected), default=0.0)
    except OnnxslimError:
        return None
    return None


def _endless(model: ir.Model) -> bool:
    return any(node.domain or node.op_type in LOOPS for node in walk(model.graph))


def _free(model: ir.Model) -> ir.Model:
    """``model`` at an IR version where initializers need not be inputs; its graph is shared."""
    return ir.Model(model.graph, ir_version=max(model.ir_version, 4), functions=list(model.functions.values()))


def _feeds(model: ir.Model, size: int | None) -> dict[str, np.ndarray] | None:
    """Random inputs with free dimensions of ``size``, when all that is computed from them is known to be small."""
    bound = io.clone(model)
    inputs = shapes.inputs(bound)
    if any(value.dtype is None or value.dtype is ir.DataType.STRING or value.shape is None for value in inputs):
        return None
    names = {dim for value in inputs for dim in shapes.dims(value) or () if isinstance(dim, str)}
    shapes.bind(bound, None if size is None else dict.fromkeys(names, size))
    sizes = [nbytes(output) for node in walk(bound.graph) for output in node.outputs if output.name]
    total = sum(each for each in sizes if each is not None)
    if None in sizes or total + sum(nbytes(value) or 0 for value in inputs) > MAX_TENSORS:
        return None
    rng = np.random.default_rng(0)
    return {str(value.name): _random(value, rng) for value in inputs}


def _random(value: ir.Value, rng: np.random.Generator) -> np.ndarray:
    assert value.dtype is not None
    size = shapes.sizes(value)
    if value.dtype.is_floating_point():
        return rng.standard_normal(size).astype(value.dtype.numpy())
    return rng.integers(0, 2, size).astype(value.dtype.numpy())  # an index or a mask is valid at 0 and 1


def _relative(before: object, after: object) -> float:
    if not isinstance(before, np.ndarray) or not isinstance(after, np.ndarray) or before.dtype.kind != "f":
        return 0.0
    if before.shape != after.shape:
        return float("inf")
    if not before.size:
        return 0.0
    wide, other = before.astype(np.float64), after.astype(np.float64)
    same = (wide == other) | (np.isnan(wide) & np.isnan(other))
    gap = np.abs(np.where(same, 0, wide - other)).max()
    return float(gap / max(np.abs(wide[np.isfinite(wide)]).max(initial=0.0), np.finfo(np.float32).tiny))
