"""float16 with the ops that need it kept in float32; what pays on the CUDA provider, where int8 does not.

Which nodes stay is found out, not listed (:func:`kept`):

1. ONNX gives the op no float16 (its schema), or it comes from another domain, or it has bodies (left whole).
2. A constant that it reads would become zero, infinite or a denormal: an epsilon of 1e-12, a mask of -1e9.
3. On the data, a tensor that it reads or writes comes within :data:`HEADROOM` of float16's largest number, or is so
   small everywhere that float16 has only denormals for it.

Inputs and outputs of the model keep float32 and their names; a Cast stands wherever a tensor passes between the halves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnx.defs
import onnx_ir as ir

from onnxslim.account import Account
from onnxslim.graph.constants import constant
from onnxslim.quantize.write import Writer

#: Largest and smallest normal float16.
LARGEST, SMALLEST = 65504.0, 6.2e-5
#: Other data may go as many times further than the calibration data did.
HEADROOM = 4.0
_FLOAT, _HALF = "tensor(float)", "tensor(float16)"
#: Outputs whose type an attribute says, and the attribute.
_TYPED = {"Cast": "to", "ConstantOfShape": "value"}


class Range(NamedTuple):
    """The extremes of a tensor on the data."""

    low: float
    high: float

    @property
    def peak(self) -> float:
        """The largest absolute value."""
        return max(-self.low, self.high)


def kept(model: ir.Model, seen: Mapping[str, Range]) -> dict[ir.Node, str]:
    """The nodes of the main graph that compute with floats and must stay float32, each with the reason."""
    return {node: why for node in model.graph if _has_floats(node) and (why := _why(node, model, seen)) is not None}


def write(model: ir.Model, stay: Mapping[ir.Node, str], account: Account) -> None:
    """Convert every float node of the main graph but those of ``stay``, in place."""
    _Conversion(model, stay).run(account)


def _has_floats(node: ir.Node) -> bool:
    values = [*(value for value in node.inputs if value is not None), *node.outputs]
    return node.op_type != "Constant" and any(value.dtype == ir.DataType.FLOAT for value in values)


def _why(node: ir.Node, model: ir.Model, seen: Mapping[str, Range]) -> str | None:
    if any(attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in node.attributes.values()):
        return "it has bodies, which are left whole"
    schema = _schema(node, model)
    if schema is None:
        return f"nothing is known about float16 for {node.domain or 'ai.onnx'}.{node.op_type}"
    if any(output.name and output.dtype is None for output in node.outputs):
        return "the type of its output is not known"
    if not any(_halves(schema, index, outputs) for index, _, outputs in _floats(node)):
        return "it has no float16 inputs or outputs"
    if any(outputs and not _halves(schema, index, outputs) for index, _, outputs in _floats(node)):
        return "its output is float32 whatever goes in"
    for index, value, outputs in _floats(node):
        array = constant(value) if not outputs else None
        if array is not None:
            if _halves(schema, index, outputs) and (what := _unfit(array)) is not None:
                return f"a constant that it reads would become {what} in float16"
        elif str(value.name) in seen:
            peak = seen[str(value.name)].peak
            if peak * HEADROOM > LARGEST:
                return f"a tensor of it reaches {peak:.3g}, float16 ends at {LARGEST:.0f}"
            if 0 < peak < SMALLEST:
                return f"a tensor of it is below {SMALLEST:.1g} everywhere, float16 has only denormals there"
    return None


def _unfit(array: np.ndarray) -> str | None:
    magnitudes = np.abs(array[np.isfinite(array)])
    if magnitudes.size and magnitudes.max() > LARGEST:
        return "infinite"
    # a weight that is lost among larger ones costs nothing; a tensor of nothing else is an epsilon
    if magnitudes.size and 0 < magnitudes.max() < SMALLEST:
        return "zero or a denormal"
    return None


def _floats(node: ir.Node) -> list[tuple[int, ir.Value, bool]]:
    """(position, value, whether it is an output) of everything float32 about ``node``."""
    inputs = [(index, value, False) for index, value in enumerate(node.inputs) if value is not None]
    both = [*inputs, *((index, value, True) for index, value in enumerate(node.outputs))]
    return [one for one in both if one[1].dtype == ir.DataType.FLOAT]


def _schema(node: ir.Node, model: ir.Model) -> onnx.defs.OpSchema | None:
    if node.domain not in ("", "ai.onnx"):
        return None
    try:
        return onnx.defs.get_schema(node.op_type, model.opset_imports.get("", 1), "")
    except onnx.defs.SchemaError:
        return None


def _halves(schema: onnx.defs.OpSchema, index: int, outputs: bool) -> bool:
    """Whether the schema lets that input or output be float16 where it is float32."""
    formals = schema.outputs if outputs else schema.inputs
    formal = formals[min(index, len(formals) - 1)]
    allowed = [set(c.allowed_type_strs) for c in schema.type_constraints if c.type_param_str == formal.type_str]
    return bool(allowed) and _HALF in allowed[0] and _FLOAT in allowed[0]


class _Conversion:
    """One pass over the main graph, producers before readers."""

    def __init__(self, model: ir.Model, stay: Mapping[ir.Node, str]) -> None:
        self.model, self.stay, self.writer = model, stay, Writer(model)
        self.half: dict[ir.Value, ir.Value] = {}  # float32 tensor -> its float16 twin
        self.float: dict[ir.Value, ir.Value] = {}  # float16 tensor -> its float32 twin

    def run(self, account: Account) -> None:
        graph = self.model.graph
        results = list(graph.outputs)
        for node in list(graph):
            if node.op_type == "Constant":
                continue
            if not _has_floats(node):
                continue
            if node in self.stay:
                self._feed_float(node)
                account.count("nodes kept in float32")
            else:
                self._convert(node)
                account.count("nodes in float16")
        for index, value in enumerate(results):
            if value.dtype == ir.DataType.FLOAT16:
                graph.outputs[index] = self._output(value)
        for name, value in list(graph.initializers.items()):
            if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
                del graph.initializers[name]

    def _convert(self, node: ir.Node) -> None:
        schema = _schema(node, self.model)
        assert schema is not None
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype == ir.DataType.FLOAT and _halves(schema, index, False):
                node.replace_input_with(index, self._as_half(value, node))
            elif value is not None and value.dtype == ir.DataType.FLOAT16 and not _halves(schema, index, False):
                node.replace_input_with(index, self._as_float(value, node))
        self._retype(node)
        for output in node.outputs:
            if output.dtype == ir.DataType.FLOAT:
                output.type = ir.TensorType(ir.DataType.FLOAT16)

    def _retype(self, node: ir.Node) -> None:
        """The attribute that names the type of the output."""
        name = _TYPED.get(node.op_type)
        if name is None:
            return
        if node.op_type == "Cast" and node.outputs[0].dtype == ir.DataType.FLOAT:
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT16))
        elif node.op_type == "ConstantOfShape":
            old = node.attributes.get(name)
            array = np.zeros(1, np.float32) if old is None else old.as_tensor().numpy()
            if array.dtype == np.float32:
                node.attributes[name] = ir.AttrTensor(name, ir.tensor(array.astype(np.float16)))

    def _feed_float(self, node: ir.Node) -> None:
        """Give a node that stays, and its bodies, the float32 twins of what is float16 by now."""
        readers = [node, *(inner for inner in _inside(node))]
        for reader in readers:
            for index, value in enumerate(reader.inputs):
                if value is not None and value.dtype == ir.DataType.FLOAT16:
                    reader.replace_input_with(index, self._as_float(value, node))

    def _as_half(self, value: ir.Value, reader: ir.Node) -> ir.Value:
        if value not in self.half:
            array = constant(value)
            if array is not None:
                self.half[value] = self.writer.constant(f"{value.name}_float16", array.astype(np.float16))
            else:
                self.half[value] = self._cast(value, reader, ir.DataType.FLOAT16)
        return self.half[value]

    def _as_float(self, value: ir.Value, reader: ir.Node) -> ir.Value:
        if value not in self.float:
            self.float[value] = self._cast(value, reader, ir.DataType.FLOAT)
        return self.float[value]

    def _cast(self, value: ir.Value, reader: ir.Node, dtype: ir.DataType) -> ir.Value:
        name = f"{value.name}_{'float16' if dtype == ir.DataType.FLOAT16 else 'float32'}"
        node = self.writer.before(
            reader, "Cast", value, name=name, attributes={"to": dtype}, dtype=dtype, shape=value.shape
        )
        return node.outputs[0]

    def _output(self, value: ir.Value) -> ir.Value:
        """The model's output in float32 under its own name."""
        name = value.name
        value.name = self.writer.fresh(f"{name}_half")
        node = ir.node("Cast", [value], {"to": ir.DataType.FLOAT}, name=f"{name}_float32")
        result = node.outputs[0]
        result.name, result.type, result.shape = name, ir.TensorType(ir.DataType.FLOAT), value.shape
        self.model.graph.append(node)
        return result


def _inside(node: ir.Node) -> list[ir.Node]:
    found = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            found += list(attribute.as_graph().all_nodes())
        elif attribute.type == ir.AttributeType.GRAPHS:
            found += [inner for graph in attribute.as_graphs() for inner in graph.all_nodes()]
    return found
