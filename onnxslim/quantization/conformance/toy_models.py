"""Small quantised models, a call a node: what the claims about the runtime are drawn with."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.graph.editor import GraphEditor


class ToyModel:
    """One model in the making; weights are random and seeded, every tensor is float32 unless it says otherwise.

    Args:
        shape: Of the input ``x``; a string is a free dimension.
        opset: Of ai.onnx.
    """

    def __init__(self, *shape: int | str, opset: int = 17) -> None:
        self.x = ir.val("x", ir.DataType.FLOAT, shape)
        self._rng = np.random.default_rng(0)
        self._graph = ir.Graph([self.x], [], nodes=[], opset_imports={"": opset, "com.microsoft": 1}, name="sketch")
        self._editor = GraphEditor(self._graph)

    def __call__(self, op: str, *inputs: ir.Value | None, outputs: int = 1, domain: str = "", **attributes: Any) -> ir.Value:
        """A node; its first output."""
        name = f"{op}_{len(self._graph)}"
        return self._editor.add_node(op, *inputs, name=name, outputs=outputs, domain=domain, attributes=attributes)

    def constant(self, array: Any, dtype: Any = np.float32) -> ir.Value:
        """An initializer."""
        return self._editor.add_initializer(f"c{len(self._graph.initializers)}", np.asarray(array, dtype))

    def random(self, *shape: int) -> ir.Value:
        """A random float initializer."""
        return self.constant(self._rng.standard_normal(shape) / 4)

    def weights(self, *shape: int, axis: int | None = 0) -> ir.Value:
        """Random int8 weights, dequantised: one scale for each index of ``axis``, or one for all."""
        codes = self.constant(self._rng.integers(-127, 128, shape), np.int8)
        if axis is None:
            return self("DequantizeLinear", codes, self.constant(0.01), self.constant(0, np.int8))
        count = shape[axis]
        scales, zeros = self.constant(np.full(count, 0.01)), self.constant(np.zeros(count), np.int8)
        return self("DequantizeLinear", codes, scales, zeros, axis=axis)

    def bias(self, count: int, scale: float, zero_point: int = 0) -> ir.Value:
        """An int32 bias, dequantised by ``scale``."""
        codes = self.constant(self._rng.integers(-999, 999, count), np.int32)
        scales, zeros = self.constant(np.full(count, scale)), self.constant(np.full(count, zero_point), np.int32)
        return self("DequantizeLinear", codes, scales, zeros, axis=0)

    def quantize(self, value: ir.Value, scale: float = 0.02, zero_point: int = 128, dtype: Any = np.uint8) -> ir.Value:
        """``value`` in codes."""
        return self("QuantizeLinear", value, self.constant(scale), self.constant(zero_point, dtype))

    def dequantize(
        self, codes: ir.Value, scale: float = 0.02, zero_point: int = 128, dtype: Any = np.uint8, vector_size: int = 0
    ) -> ir.Value:
        """``codes`` as floats, by one scale or by a ``vector_size`` of equal ones along axis 1."""
        size = vector_size or ()
        scales, zeros = self.constant(np.full(size, scale)), self.constant(np.full(size, zero_point), dtype)
        attributes: dict[str, Any] = {"axis": 1} if vector_size else {}
        return self("DequantizeLinear", codes, scales, zeros, **attributes)

    def qdq(self, value: ir.Value, scale: float = 0.02, zero_point: int = 128, dtype: Any = np.uint8) -> ir.Value:
        """``value`` through a QuantizeLinear and back."""
        return self.dequantize(self.quantize(value, scale, zero_point, dtype), scale, zero_point, dtype)

    def conv(self, value: ir.Value, bias: ir.Value | None = None) -> ir.Value:
        """An int8 1x1 Conv of 16 channels."""
        weights = self.weights(16, 16, 1, 1)
        return self("Conv", value, weights) if bias is None else self("Conv", value, weights, bias)

    def build(self, *outputs: ir.Value) -> ir.Model:
        """The model with these outputs."""
        for index, value in enumerate(outputs):
            value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
            value.name = f"y{index}"
            self._graph.outputs.append(value)
        return ir.Model(self._graph, ir_version=8)
