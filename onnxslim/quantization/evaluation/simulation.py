"""One session for every choice of ranges: a quantised model whose scales and zero points, a pair a group, are inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.graph.editor import GraphEditor
from onnxslim.quantization.numerics.affine import Encoding
from onnxslim.quantization.qdq.fusion_groups import QuantizationPlan
from onnxslim.quantization.qdq.insert import QuantizationParams, insert_qdq, quantized_dtype
from onnxslim.runtime.parallel import SessionPool
from onnxslim.runtime.session import SessionConfig


class Simulation:
    """``model`` with the activations of ``plan`` quantised, by parameters that are given anew each time.

    Args:
        model: The float model; it is not changed.
        plan: What is quantised.
        initial_encodings: Types of the parameters, and the input scales that weights are rounded by.
        reduce_range: See :class:`~onnxslim.quantization.qdq.insert.QuantizationParams`.
        reference: What outputs are compared with.
        config: Where to run.
    """

    def __init__(
        self,
        model: ir.Model,
        plan: QuantizationPlan,
        initial_encodings: Mapping[str, Encoding],
        reduce_range: bool,
        reference: ReferenceOutputs,
        config: SessionConfig,
    ) -> None:
        copy = insert_qdq(model, plan, QuantizationParams(initial_encodings, reduce_range=reduce_range))
        self._groups, self._reference = plan.list_tensor_groups(), reference
        editor = GraphEditor(copy.graph)
        for index, names in enumerate(self._groups.values()):
            zero_point_dtype = quantized_dtype(initial_encodings[names[0]])
            scale, zero_point = (
                ir.Value(name=f"simulated__{key}_{index}", type=ir.TensorType(dtype), shape=ir.Shape(()))
                for key, dtype in (("scale", ir.DataType.FLOAT), ("zero_point", zero_point_dtype))
            )
            copy.graph.inputs.extend([scale, zero_point])
            for name in names:
                for key, value in (("scale", scale), ("zero_point", zero_point)):
                    _replace_with_input(editor, f"{name}_{key}", value)
        self._pool = SessionPool(copy, config)

    def measure_errors(self, encodings: Mapping[str, Encoding]) -> dict[str, float]:
        """Relative squared error of each output, or part of one, with ``encodings``."""
        parameters: dict[str, np.ndarray] = {}
        for index, names in enumerate(self._groups.values()):
            encoding = encodings[names[0]]
            parameters[f"simulated__scale_{index}"] = np.asarray(encoding.scale)
            parameters[f"simulated__zero_point_{index}"] = np.asarray(encoding.zero_point)
        return self._reference.errors(self._pool, parameters)


def _replace_with_input(editor: GraphEditor, initializer_name: str, parameter: ir.Value) -> None:
    """Let ``parameter`` take the place of an initializer, and fill the vector of its like that float layers read through."""
    graph = editor.graph
    graph.initializers.pop(initializer_name).replace_all_uses_with(parameter)
    if (vector := graph.initializers.pop(f"{initializer_name}_vector", None)) is not None:
        size = editor.add_initializer(f"{initializer_name}_size", np.array(vector.shape, np.int64))
        expanded = editor.add_node("Expand", parameter, size, before=graph[0], name=f"{initializer_name}_filled")
        editor.replace_value(vector, expanded, is_new=False)
