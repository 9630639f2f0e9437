"""Classifiers of tables as scikit-learn's converter writes them: texts beside numbers, a dictionary per row at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ML = "ai.onnx.ml"
FEATURES = 16


def classifier(labels: Sequence[int] | Sequence[str], *, zipmap: bool = True, texts: bool = False) -> onnx.ModelProto:
    """x (n, FEATURES), with ``texts`` a column s beside it → the label, and the scores, as dictionaries or a tensor."""
    rng, classes = np.random.default_rng(0), len(labels)
    width = FEATURES + (2 if texts else 0)
    weights = {
        "hidden": rng.standard_normal((width, 32)).astype(np.float32),
        "scores": rng.standard_normal((32, classes)).astype(np.float32),
        "labels": np.asarray(labels, object if isinstance(labels[0], str) else np.int64),
    }
    kind = TensorProto.STRING if isinstance(labels[0], str) else TensorProto.INT64
    name = "classlabels_strings" if kind == TensorProto.STRING else "classlabels_int64s"
    nodes = [
        helper.make_node("Scaler", ["x"], ["scaled"], domain=ML, offset=[0.1] * FEATURES, scale=[2.0] * FEATURES),
        helper.make_node("MatMul", ["table" if texts else "scaled", "hidden"], ["m"]),
        helper.make_node("Relu", ["m"], ["r"]),
        helper.make_node("MatMul", ["r", "scores"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["p"], axis=1),
        helper.make_node("ArgMax", ["p"], ["index"], axis=1, keepdims=0),
        helper.make_node("Gather", ["labels", "index"], ["label"]),
        helper.make_node("Identity", ["p"], ["probabilities"]),
    ]
    if texts:
        weights["known"] = np.asarray(["a", "b"], object)
        nodes[1:1] = [
            helper.make_node("Equal", ["s", "known"], ["is"]),
            helper.make_node("Cast", ["is"], ["one_hot"], to=TensorProto.FLOAT),
            helper.make_node("Concat", ["scaled", "one_hot"], ["table"], axis=1),
        ]
    probabilities = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, classes])
    if zipmap:
        nodes[-1] = helper.make_node("ZipMap", ["p"], ["probabilities"], domain=ML, **{name: list(labels)})
        row = helper.make_map_type_proto(kind, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        probabilities = helper.make_value_info("probabilities", helper.make_sequence_type_proto(row))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, FEATURES])]
    inputs += [helper.make_tensor_value_info("s", TensorProto.STRING, [None, 1])] if texts else []
    outputs = [helper.make_tensor_value_info("label", kind, [None]), probabilities]
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    imports = [helper.make_opsetid("", 19), helper.make_opsetid(ML, 1), helper.make_opsetid("", 19)]
    graph = helper.make_graph(nodes, "classifier", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def table(rows: int, *, texts: bool = False) -> dict[str, np.ndarray]:
    """Rows for :func:`classifier`."""
    rng = np.random.default_rng(1)
    columns: dict[str, np.ndarray] = {"x": rng.standard_normal((rows, FEATURES)).astype(np.float32)}
    return {**columns, "s": rng.choice(np.asarray(["a", "b", "c"]), (rows, 1))} if texts else columns
