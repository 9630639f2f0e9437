"""Whether a model bears being rounded differently.

Folding a BatchNormalization into a Conv is exact in the reals and moves the last bits in float32. A network that
saturates (a sigmoid far out on its tail) can turn those bits into percents of its largest output. No rule sees that
locally, so the step measures it once: both models run unoptimised on one seeded random input.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxslim.errors import OnnxslimError
from onnxslim.graph import shapes
from onnxslim.runtime.session import Session, SessionConfig

#: max|a - b| / max|a| above which two outputs are not equal (the contract's "equal").
TOLERANCE = 1e-4

#: Larger models are not run here, for the memory of two more copies of the weights.
MAX_BYTES = 500_000_000

#: Sizes tried for free dimensions, until the original runs: 1 (and 224 for images), then something divisible.
FREE_SIZES = (None, 64, 512)


def difference(original: ir.Model, result: ir.Model, nbytes: int) -> float | None:
    """The largest max|a - b| / max|a| over the float outputs; None when the original is too large or does not run."""
    if nbytes > MAX_BYTES:
        return None
    plain = SessionConfig(optimize=False)
    try:
        reference, other = Session(original, plain), Session(result, plain)
    except OnnxslimError:
        return None
    for feeds in _feeds(original):
        try:
            before = reference.run(feeds)
        except OnnxslimError:
            continue
        after = other.run(feeds)
        return max((_relative(before[name], after[name]) for name in before), default=0.0)
    return None


def _feeds(model: ir.Model) -> Iterator[dict[str, np.ndarray]]:
    inputs = shapes.inputs(model)
    if any(value.dtype is None or value.dtype is ir.DataType.STRING for value in inputs):
        return
    for size in FREE_SIZES:
        rng = np.random.default_rng(0)
        names = {dim for value in inputs for dim in shapes.dims(value) or () if isinstance(dim, str)}
        given = None if size is None else dict.fromkeys(names, size)
        yield {str(value.name): _random(value, shapes.sizes(value, given), rng) for value in inputs}


def _random(value: ir.Value, size: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    assert value.dtype is not None
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
