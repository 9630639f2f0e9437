"""What a rule believes of the time its rewrite takes: a small model, and whether the runtime gains by the rewrite.

A rewrite is not free because it is exact: another kernel may run, in another layout. A rule that can change that says with
what it gains and with what it loses; :mod:`onnxslim.simplification.speed.measurement` times both forms, for
``onnxslim doctor`` and for whoever meets a new runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir

#: A constant of a claim's model: a shape (a tuple) of random floats, positive on one axis, integers (a list), or one number.
ConstantSpec: TypeAlias = "tuple[int, ...] | list[int] | int | float"

#: Opset of the models: the first whose Pad names axes, which the runtime does not fold into what follows by itself.
_OPSET = 18


@dataclass(frozen=True)
class SpeedClaim:
    """One line of what is believed of the runtime's speed.

    Attributes:
        description: The place in words.
        graph: The model before the rewrite, as ONNX's text: ``(float[1,8] x) => (float[1,8] y) { y = Relu (x) }``.
        gains: Whether the rewritten form is at least as fast, so that the rule fires; otherwise it declines.
        constants: By name.
    """

    description: str
    graph: str
    gains: bool
    constants: Mapping[str, ConstantSpec] = field(default_factory=dict)

    def build(self) -> ir.Model:
        """The model before the rewrite."""
        graph, rng = onnx.parser.parse_graph(f"claim {self.graph}"), np.random.default_rng(0)
        for name, spec in self.constants.items():
            graph.initializer.append(onnx.numpy_helper.from_array(_make_constant(spec, rng), name))
        opset = onnx.helper.make_opsetid("", _OPSET)
        return ir.from_proto(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8))


def _make_constant(spec: ConstantSpec, rng: np.random.Generator) -> np.ndarray:
    if isinstance(spec, tuple):
        return (rng.uniform(0.5, 1.5, spec) if len(spec) == 1 else rng.standard_normal(spec) / 4).astype(np.float32)
    return np.asarray(spec, np.float32 if isinstance(spec, float) else np.int64)
