"""One session for every choice of ranges and tensors: a quantised model whose parameters are inputs.

Each group of tensors has its scale, its zero point and maybe a switch; a tensor that is switched off passes in float.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.quantize.encode import Encoding
from onnxslim.quantize.fidelity import Yardstick
from onnxslim.quantize.insert import Choices, scale_type, write_qdq
from onnxslim.quantize.plan import Plan
from onnxslim.runtime.parallel import Pool
from onnxslim.runtime.session import SessionConfig


class Simulation:
    """``model`` with the activations of ``plan`` quantised, by parameters that are given anew each time.

    Weights are rounded whatever is switched off: they stand beside the activations, whose loss is what differs.

    Args:
        model: The float model; it is not changed.
        plan: What is quantised.
        first: Encodings whose types the parameters have, and by whose input scales weights are rounded.
        narrow: Of the weights (:class:`~onnxslim.quantize.insert.Choices`).
        yardstick: What outputs are compared by.
        config: Where to run.
        switched: Let tensors be switched off; a switch costs a copy of its tensor.
    """

    def __init__(
        self,
        model: ir.Model,
        plan: Plan,
        first: Mapping[str, Encoding],
        narrow: bool,
        yardstick: Yardstick,
        config: SessionConfig,
        *,
        switched: bool = False,
    ) -> None:
        copy = io.clone(model)
        write_qdq(copy, plan.on(copy), Choices(first, narrow=narrow))
        self._groups, self._yardstick = plan.groups(), yardstick
        for index, names in enumerate(self._groups.values()):
            kind = scale_type(first[names[0]])
            scale, zero, switch = (
                ir.Value(name=f"simulated__{key}_{index}", type=ir.TensorType(dtype), shape=ir.Shape(()))
                for key, dtype in (("scale", ir.DataType.FLOAT), ("zero_point", kind), ("on", ir.DataType.BOOL))
            )
            copy.graph.inputs.extend([scale, zero, *([switch] if switched else [])])
            for name in names:
                for key, value in (("scale", scale), ("zero_point", zero)):
                    old = copy.graph.initializers.pop(f"{name}_{key}")
                    old.replace_all_uses_with(value)
                if switched:
                    _switch(copy.graph, name, switch)
        self._pool, self.switched = Pool(copy, config), switched

    def errors(
        self, encodings: Mapping[str, Encoding], tensors: Collection[str] | None = None
    ) -> dict[str, float]:
        """The yardstick's errors with ``encodings``; for ``tensors`` alone where they can be switched."""
        parameters: dict[str, np.ndarray] = {}
        for index, names in enumerate(self._groups.values()):
            encoding = encodings[names[0]]
            parameters[f"simulated__scale_{index}"] = np.asarray(encoding.scale)
            parameters[f"simulated__zero_point_{index}"] = np.asarray(encoding.zero_point)
            if self.switched:
                on = tensors is None or any(name in tensors for name in names)
                parameters[f"simulated__on_{index}"] = np.array(on)
        return self._yardstick.errors(self._pool, parameters)


def _switch(graph: ir.Graph, name: str, switch: ir.Value) -> None:
    """Let ``switch`` choose between the dequantised tensor ``name`` and the tensor itself, for all who read the former."""
    quantise = next(node for node in graph if node.name == f"{name}_QuantizeLinear")
    source = quantise.inputs[0]
    for node in [use.node for use in quantise.outputs[0].uses()]:
        plain = node.outputs[0]
        uses = list(plain.uses())
        where = ir.node("Where", [switch, plain, source], name=f"{node.name}_switched")
        chosen = where.outputs[0]
        chosen.name, chosen.shape, chosen.dtype = f"{plain.name}_switched", plain.shape, ir.DataType.FLOAT
        graph.insert_after(node, where)
        for use in uses:
            use.node.replace_input_with(use.idx, chosen)
        if plain.is_graph_output():
            position = list(graph.outputs).index(plain)
            own = plain.name
            plain.name, chosen.name = f"{own}_dequantised", own
            graph.outputs[position] = chosen
