"""What the tests of this room mean by equal: both forms run with the runtime's optimisation off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session, SessionConfig

PLAIN = SessionConfig(optimize=False)


def run(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return Session(model, PLAIN).run(feeds)


def same(before: Any, after: Any, *, rtol: float = 1e-5) -> bool:
    """Bit for bit for integers; for floats to ``rtol`` of the largest number, or 2 units of a short float."""
    if isinstance(before, list):
        return isinstance(after, list) and len(before) == len(after) and all(map(same, before, after))
    a, b = np.asarray(before), np.asarray(after)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return bool(a.tobytes() == b.tobytes() if a.dtype.kind == "V" else (a == b).all())
    short = 2 * float(np.finfo(a.dtype).eps) if a.dtype == np.float16 else 0.0
    wide, other = a.astype(np.float64), b.astype(np.float64)
    scale = np.abs(wide[np.isfinite(wide)]).max(initial=0.0)
    return bool(np.allclose(wide, other, rtol=0, atol=max(rtol, short) * scale, equal_nan=True))


def assert_simplified(before: ir.Model, after: ir.Model) -> None:
    """``after`` is a valid model with the interface of ``before``, no more nodes and at most 1.02 times the bytes."""
    proto = onnx.load_model_from_string(model_file.to_bytes(after))
    onnx.checker.check_model(proto)
    assert _interface(before) == _interface(after)
    assert dict(after.metadata_props) == dict(before.metadata_props)
    assert (after.ir_version, after.opset_imports.get("")) == (before.ir_version, before.opset_imports.get(""))
    assert sum(1 for _ in after.graph.all_nodes()) <= sum(1 for _ in before.graph.all_nodes())
    assert len(model_file.to_bytes(after)) <= 1.02 * len(model_file.to_bytes(before))


def _interface(model: ir.Model) -> list[tuple[str | None, str, str]]:
    fed = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    return [(value.name, str(value.type), str(value.shape)) for value in (*fed, *model.graph.outputs)]
