"""One session for every choice of ranges: a quantised model whose parameters are inputs.

Each group of tensors has its scale and its zero point.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxslim.quantize.encode import Encoding
from onnxslim.quantize.fidelity import Yardstick
from onnxslim.quantize.insert import Choices, initializer, scale_type, written
from onnxslim.quantize.plan import Plan
from onnxslim.runtime.parallel import Pool
from onnxslim.runtime.session import SessionConfig


class Simulation:
    """``model`` with the activations of ``plan`` quantised, by parameters that are given anew each time.

    Args:
        model: The float model; it is not changed.
        plan: What is quantised.
        first: Encodings whose types the parameters have, and by whose input scales weights are rounded.
        narrow: Of the weights (:class:`~onnxslim.quantize.insert.Choices`).
        yardstick: What outputs are compared by.
        config: Where to run.
    """

    def __init__(
        self,
        model: ir.Model,
        plan: Plan,
        first: Mapping[str, Encoding],
        narrow: bool,
        yardstick: Yardstick,
        config: SessionConfig,
    ) -> None:
        copy = written(model, plan, Choices(first, narrow=narrow))
        self._groups, self._yardstick = plan.groups(), yardstick
        for index, names in enumerate(self._groups.values()):
            kind = scale_type(first[names[0]])
            scale, zero = (
                ir.Value(name=f"simulated__{key}_{index}", type=ir.TensorType(dtype), shape=ir.Shape(()))
                for key, dtype in (("scale", ir.DataType.FLOAT), ("zero_point", kind))
            )
            copy.graph.inputs.extend([scale, zero])
            for name in names:
                for key, value in (("scale", scale), ("zero_point", zero)):
                    _parametrise(copy, f"{name}_{key}", value)
        self._pool = Pool(copy, config)

    def errors(self, encodings: Mapping[str, Encoding]) -> dict[str, float]:
        """The yardstick's errors with ``encodings``."""
        parameters: dict[str, np.ndarray] = {}
        for index, names in enumerate(self._groups.values()):
            encoding = encodings[names[0]]
            parameters[f"simulated__scale_{index}"] = np.asarray(encoding.scale)
            parameters[f"simulated__zero_point_{index}"] = np.asarray(encoding.zero_point)
        return self._yardstick.errors(self._pool, parameters)


def _parametrise(model: ir.Model, stored: str, value: ir.Value) -> None:
    """Let ``value`` take the place of an initializer, and fill the vector of its like that float layers read through."""
    graph = model.graph
    graph.initializers.pop(stored).replace_all_uses_with(value)
    if (vector := graph.initializers.pop(f"{stored}_vector", None)) is not None:
        size = initializer(model, f"{stored}_size", np.array(vector.shape, np.int64))
        filled = ir.node("Expand", [value, size], name=f"{stored}_filled")
        graph.insert_before(graph[0], filled)
        vector.replace_all_uses_with(filled.outputs[0])
