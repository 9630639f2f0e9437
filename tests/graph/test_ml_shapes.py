"""Shapes behind the ops of scikit-learn's pipelines, held against the runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnxslim.graph import shapes
from onnxslim.graph.ml_shapes import DOMAIN, annotate_ml_nodes
from onnxslim.model_io import model_file
from onnxslim.simplification.step import simplify
from tests.support.equality import run
from tests.support.tabular_models import classifier

TREE = {
    "nodes_treeids": [0, 0, 0],
    "nodes_nodeids": [0, 1, 2],
    "nodes_featureids": [1, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
    "nodes_values": [0.1, 0.0, 0.0],
    "nodes_truenodeids": [1, 0, 0],
    "nodes_falsenodeids": [2, 0, 0],
}
TARGETS = {"target_treeids": [0, 0], "target_nodeids": [1, 2], "target_ids": [0, 1], "target_weights": [1.0, -2.0]}
CLASSES = {"class_treeids": [0, 0], "class_nodeids": [1, 2], "class_ids": [0, 1], "class_weights": [1.0, 1.0]}
OPS: dict[str, tuple[str, dict[str, Any]]] = {
    "scaler": ("Scaler", {"offset": [0.1] * 4, "scale": [2.0] * 4}),
    "normalizer": ("Normalizer", {"norm": "L2"}),
    "imputer": ("Imputer", {"imputed_value_floats": [0.5], "replaced_value_float": 0.0}),
    "vectorizer": ("FeatureVectorizer", {"inputdimensions": [4]}),
    "linear": ("LinearRegressor", {"coefficients": [0.5] * 8, "intercepts": [0.0, 1.0], "targets": 2}),
    "trees": ("TreeEnsembleRegressor", {"n_targets": 2, **TREE, **TARGETS}),
    "classes": ("TreeEnsembleClassifier", {"classlabels_int64s": [3, 5], **TREE, **CLASSES}),
    "words": ("TreeEnsembleClassifier", {"classlabels_strings": ["a", "b"], **TREE, **CLASSES}),
}


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("rows", ["n", 3])
def test_what_is_said_of_an_op_is_what_the_runtime_gives(name: str, rows: int | str) -> None:
    op, attributes = OPS[name]
    outputs = ["l", "y"] if op == "TreeEnsembleClassifier" else ["y"]
    nodes = [
        helper.make_node(op, ["x"], outputs, domain=DOMAIN, **attributes),
        helper.make_node("Relu", ["y"], ["r"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 4])
    ends = [helper.make_empty_tensor_value_info(name) for name in ("r", *outputs)]
    graph = helper.make_graph(nodes, "g", [x], ends)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    model = model_file.load(helper.make_model(graph, opset_imports=imports, ir_version=8))
    shapes.infer(model)
    given = run(model, {"x": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)})
    for value in model.graph.outputs:
        array = np.asarray(given[str(value.name)])
        expected = ir.DataType.STRING if array.dtype.kind in "OU" else ir.DataType.from_numpy(array.dtype)
        assert value.dtype == expected
        dims = shapes.get_dims(value)
        assert dims is not None
        assert tuple(3 if dim in ("n", None) else dim for dim in dims) == array.shape
    assert not annotate_ml_nodes(model)


@pytest.mark.parametrize(
    "name", ["scaler", "normalizer", "manhattan", "largest", "imputer", "vectorizer", "linear", "trees"]
)
@pytest.mark.parametrize("rows", ["n", 3])
def test_a_model_answers_the_same_with_what_is_said_of_its_ops(name: str, rows: int | str) -> None:
    """The runtime reuses memory by the shapes that a file tells, and does not of every op rightly."""
    norms = {"manhattan": ("Normalizer", {"norm": "L1"}), "largest": ("Normalizer", {"norm": "MAX"})}
    op, attributes = {**OPS, **norms}[name]
    nodes = [
        helper.make_node("Neg", ["x"], ["a"]),
        helper.make_node(op, ["a"], ["b"], domain=DOMAIN, **attributes),
        helper.make_node("Neg", ["b"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, [rows, 4] if end == "x" else None) for end in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    told, plain = (model_file.load(helper.make_model(graph, opset_imports=imports, ir_version=8)) for _ in range(2))
    shapes.infer(told)
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(told, {"x": x})["y"], run(plain, {"x": x})["y"])
    if rows == 3:
        shapes.bind(told)
        np.testing.assert_array_equal(run(told, {"x": x})["y"], run(plain, {"x": x})["y"])


def test_a_network_behind_a_scaler_has_shapes() -> None:
    model = model_file.load(classifier([0, 1, 2]))
    shapes.infer(model)
    logits = next(value for node in model.graph for value in node.outputs if value.name == "logits")
    assert (logits.dtype, shapes.get_dims(logits)[1]) == (ir.DataType.FLOAT, 3)  # type: ignore[index]


def test_a_cast_to_what_a_scaler_gives_goes() -> None:
    proto = classifier([0, 1])
    proto.graph.node[0].output[0] = "raw"
    proto.graph.node.insert(1, helper.make_node("Cast", ["raw"], ["scaled"], to=TensorProto.FLOAT))
    assert "Cast" not in [node.op_type for node in simplify(proto)[0].graph]
