"""float16 with the ops that need it kept in float32; what pays on the CUDA provider, where int8 does not.

Which nodes stay is found out, not listed (:func:`find_float32_nodes`):

1. ONNX gives the op no float16 (its schema), or it comes from another domain, or it has bodies (left whole).
2. A constant that it reads would become zero, infinite or a denormal: an epsilon of 1e-12, a mask of -1e9.
3. The runtime would not survive it: a Transpose of the batch before a MatMul (:func:`_moves_batch_into_matrices`).
4. On the data, a tensor that it reads or writes comes within :data:`RANGE_HEADROOM` of float16's largest number, or is so
   small everywhere that float16 has only denormals for it.

Inputs and outputs of the model keep float32 and their names; a Cast stands wherever a tensor passes between the halves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx.defs
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.traversal import iter_subgraphs, walk, walk_graphs

#: Largest and smallest normal float16.
MAX_FLOAT16, MIN_NORMAL_FLOAT16 = 65504.0, 6.2e-5
#: Other data may go as many times further than the calibration data did.
RANGE_HEADROOM = 4.0
_FLOAT, _FLOAT16 = "tensor(float)", "tensor(float16)"
#: Outputs whose type an attribute says, and the attribute.
_DTYPE_ATTRIBUTES = {"Cast": "to", "ConstantOfShape": "value"}


def find_float32_nodes(model: ir.Model, peaks: Mapping[str, float]) -> dict[ir.Node, str]:
    """The nodes of the main graph that compute with floats and must stay float32, each with the reason.

    Args:
        model: Prepared.
        peaks: By tensor the largest absolute value on the data.
    """
    return {
        node: why for node in model.graph if _has_floats(node) and (why := _explain_float32(node, model, peaks)) is not None
    }


def _has_floats(node: ir.Node) -> bool:
    values = [*(value for value in node.inputs if value is not None), *node.outputs]
    return node.op_type != "Constant" and any(_is_float(value) or _is_container(value) for value in values)


def _is_float(value: ir.Value | None) -> bool:
    """Whether it is a float32 tensor."""
    return value is not None and value.dtype == ir.DataType.FLOAT and not _is_container(value)


def _is_container(value: ir.Value | None) -> bool:
    """Whether it is a sequence or an optional, whose dtype is that of what is inside."""
    return value is not None and value.type is not None and not isinstance(value.type, ir.TensorType)


def _explain_float32(node: ir.Node, model: ir.Model, peaks: Mapping[str, float]) -> str | None:
    if any(iter_subgraphs(node)):
        return "it has bodies, which are left whole"
    schema = _get_schema(node, model)
    if schema is None:
        return f"nothing is known about float16 for {node.domain or 'ai.onnx'}.{node.op_type}"
    values = [value for value in (*node.inputs, *node.outputs) if value is not None and value.name]
    if any(value.dtype is None for value in values):
        return "the type of a tensor of it is not known"
    if any(map(_is_container, values)):
        return "sequences and optionals stay as they are"
    if not any(_allows_float16(schema, index, outputs) for index, _, outputs in _list_floats(node)):
        return "it has no float16 inputs or outputs"
    if any(outputs and not _allows_float16(schema, index, outputs) for index, _, outputs in _list_floats(node)):
        return "its output is float32 whatever goes in"
    if _moves_batch_into_matrices(node):
        return "onnxruntime 1.32 dies of fusing a float16 Transpose that moves the first axis into a MatMul's matrices"
    for index, value, outputs in _list_floats(node):
        array = get_const_array(value) if not outputs else None
        if array is not None:
            if _allows_float16(schema, index, outputs) and (loss := _describe_range_loss(array)) is not None:
                return f"a constant that it reads would become {loss} in float16"
        elif (peak := peaks.get(str(value.name))) is not None:
            if peak * RANGE_HEADROOM > MAX_FLOAT16:
                return f"a tensor of it reaches {peak:.3g}, float16 ends at {MAX_FLOAT16:.0f}"
            if 0 < peak < MIN_NORMAL_FLOAT16:
                return f"a tensor of it is below {MIN_NORMAL_FLOAT16:.1g} everywhere, float16 has only denormals there"
    return None


def _moves_batch_into_matrices(node: ir.Node) -> bool:
    """Whether ``node`` is a Transpose that makes its first axis one of the last two for a MatMul, as behind an LSTM whose
    batch comes first.

    The runtime's MatmulTransposeFusion makes a FusedMatMul with transBatchA of the two, also through a Cast, and reads past
    the float16 kernel that there is none of (signal 11).
    """
    if node.op_type != "Transpose" or node.domain:
        return False
    perm = node.attributes.get_ints("perm", ())
    return len(perm) > 2 and 0 in perm[-2:] and any(use.node.op_type == "MatMul" for use in node.outputs[0].uses())


def _describe_range_loss(array: np.ndarray) -> str | None:
    magnitudes = np.abs(array[np.isfinite(array)])
    if magnitudes.size and magnitudes.max() > MAX_FLOAT16:
        return "infinite"
    # a weight that is lost among larger ones costs nothing; a tensor of nothing else is an epsilon
    if magnitudes.size and 0 < magnitudes.max() < MIN_NORMAL_FLOAT16:
        return "zero or a denormal"
    return None


def _list_floats(node: ir.Node) -> list[tuple[int, ir.Value, bool]]:
    """(position, value, whether it is an output) of everything float32 about ``node``."""
    inputs = [(index, value, False) for index, value in enumerate(node.inputs) if value is not None]
    both = [*inputs, *((index, value, True) for index, value in enumerate(node.outputs))]
    return [entry for entry in both if _is_float(entry[1])]


def _get_schema(node: ir.Node, model: ir.Model) -> onnx.defs.OpSchema | None:
    if node.domain:
        return None
    try:
        return onnx.defs.get_schema(node.op_type, model.opset_imports.get("", 1), "")
    except onnx.defs.SchemaError:
        return None


def _allows_float16(schema: onnx.defs.OpSchema, index: int, is_output: bool) -> bool:
    """Whether the schema lets that input or output be float16 where it is float32."""
    formals = schema.outputs if is_output else schema.inputs
    formal = formals[min(index, len(formals) - 1)]
    allowed = [set(c.allowed_type_strs) for c in schema.type_constraints if c.type_param_str == formal.type_str]
    return bool(allowed) and _FLOAT16 in allowed[0] and _FLOAT in allowed[0]


class Float16Converter:
    """Converts every float node of the main graph but those of ``float32_nodes``, in place, producers before readers."""

    def __init__(self, model: ir.Model, float32_nodes: Mapping[ir.Node, str]) -> None:
        self.model, self.float32_nodes, self.editor = model, float32_nodes, GraphEditor(model.graph)
        self.halved: set[ir.Value] = set()  # what was float32 and is float16
        self.float16_twins: dict[ir.Value, ir.Value] = {}  # float32 tensor -> its float16 twin
        self.float32_twins: dict[ir.Value, ir.Value] = {}  # float16 tensor -> its float32 twin

    def run(self) -> Counter[str]:
        """How many nodes became what."""
        counts: Counter[str] = Counter()
        graph = self.model.graph
        for node in list(graph):
            if node in self.float32_nodes:  # whatever its inputs have become by now
                self._feed_float32(node)
                counts["nodes kept in float32"] += 1
            elif not _has_floats(node):
                continue
            else:
                self._convert(node)
                counts["nodes in float16"] += 1
        for value in dict.fromkeys(graph.outputs):
            if value in self.halved:  # the model's outputs stay in float32
                cast = self.editor.add_cast(value, ir.DataType.FLOAT, name=f"{value.name}_float32")
                self.editor.replace_output(value, cast, f"{value.name}_half")
        self.editor.remove_unread(graph.initializers.values())
        return counts

    def _convert(self, node: ir.Node) -> None:
        schema = _get_schema(node, self.model)
        assert schema is not None
        for index, value in enumerate(node.inputs):
            if value is not None and _is_float(value) and _allows_float16(schema, index, False):
                node.replace_input_with(index, self._as_float16(value, node))
            elif value is not None and value in self.halved and not _allows_float16(schema, index, False):
                node.replace_input_with(index, self._as_float32(value, node))
        self._retype(node)
        for output in node.outputs:
            if _is_float(output):
                output.type = ir.TensorType(ir.DataType.FLOAT16)
                self.halved.add(output)

    def _retype(self, node: ir.Node) -> None:
        """The attribute that names the type of the output."""
        name = _DTYPE_ATTRIBUTES.get(node.op_type)
        if name is None:
            return
        if node.op_type == "Cast" and node.outputs[0].dtype == ir.DataType.FLOAT:
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT16))
        elif node.op_type == "ConstantOfShape":
            old = node.attributes.get(name)
            array = np.zeros(1, np.float32) if old is None else old.as_tensor().numpy()
            if array.dtype == np.float32:
                node.attributes[name] = ir.AttrTensor(name, ir.tensor(array.astype(np.float16)))

    def _feed_float32(self, node: ir.Node) -> None:
        """Give a node that stays, and its bodies, the float32 twins of what is float16 by now."""
        for reader in walk([node], iter_subgraphs):
            for index, value in enumerate(reader.inputs):
                if value is not None and value in self.halved:
                    reader.replace_input_with(index, self._as_float32(value, node))
        for body in (inner for graph in iter_subgraphs(node) for inner in walk_graphs(graph, iter_subgraphs)):
            for index, value in enumerate(list(body.outputs)):
                if value in self.halved:  # it is returned from further out
                    body.outputs[index] = self._as_float32(value, node)

    def _as_float16(self, value: ir.Value, reader: ir.Node) -> ir.Value:
        if value not in self.float16_twins:
            array = get_const_array(value)
            if array is not None:
                self.float16_twins[value] = self.editor.add_initializer(f"{value.name}_float16", array.astype(np.float16))
            else:
                self.float16_twins[value] = self._cast(value, reader, ir.DataType.FLOAT16)
        return self.float16_twins[value]

    def _as_float32(self, value: ir.Value, reader: ir.Node) -> ir.Value:
        if value not in self.float32_twins:
            self.float32_twins[value] = self._cast(value, reader, ir.DataType.FLOAT)
        return self.float32_twins[value]

    def _cast(self, value: ir.Value, reader: ir.Node, dtype: ir.DataType) -> ir.Value:
        name = f"{value.name}_{'float16' if dtype == ir.DataType.FLOAT16 else 'float32'}"
        return self.editor.add_cast(value, dtype, before=reader, name=name)
