"""Types and shapes of the ops of classical machine learning that ONNX's own inference says nothing about.

Without them a whole network behind a Scaler, as scikit-learn's pipelines begin, has no shapes.

Specification: https://github.com/onnx/onnx/blob/main/docs/Operators-ml.md
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

DOMAIN = "ai.onnx.ml"

#: Type and shape of one output; None where the inputs do not tell.
_Port = tuple[ir.DataType | None, ir.Shape | None]


def annotate_ml_nodes(model: ir.Model) -> bool:
    """Say in place what outputs without a type or a shape are; whether anything was new."""
    if DOMAIN not in model.opset_imports:
        return False
    changed = False
    for node in model.graph.all_nodes():
        rule = _RULES.get(node.op_type) if node.domain == DOMAIN and node.inputs else None
        for output, (dtype, shape) in zip(node.outputs, () if rule is None else rule(node), strict=False):
            if output.type is None and dtype is not None:
                output.type, changed = ir.TensorType(dtype), True
            if output.shape is None and shape is not None:
                output.shape, changed = shape, True
    return changed


def _scaled(node: ir.Node) -> list[_Port]:
    """Scaler: floats of the input's shape."""
    return [(ir.DataType.FLOAT, _copy(_first(node).shape))]


def _normalized(node: ir.Node) -> list[_Port]:
    """Normalizer: the same; by the norm L2 the number of rows is left out.

    onnxruntime 1.32 writes what it knows to be as large as its input over that, and then takes the signs from what it wrote:
    all that comes out is positive (norm L2; the others are right).
    """
    shape = _copy(_first(node).shape)
    if shape and node.attributes.get_string("norm", "MAX") == "L2":
        shape[0] = None
    return [(ir.DataType.FLOAT, shape)]


def _imputed(node: ir.Node) -> list[_Port]:
    """Imputer: what it was."""
    return [(_first(node).dtype, _copy(_first(node).shape))]


def _joined(node: ir.Node) -> list[_Port]:
    """FeatureVectorizer: the columns of all inputs side by side."""
    widths = node.attributes.get_ints("inputdimensions", ())
    return [(ir.DataType.FLOAT, _rows(node, sum(widths) if widths else None))]


def _regressed(node: ir.Node) -> list[_Port]:
    """LinearRegressor, SVMRegressor, TreeEnsembleRegressor: a column for each target."""
    name = "n_targets" if node.op_type == "TreeEnsembleRegressor" else "targets"
    return [(ir.DataType.FLOAT, _rows(node, node.attributes.get_int(name, 1)))]


def _classified(node: ir.Node) -> list[_Port]:
    """TreeEnsembleClassifier: the label, and a column for each class."""
    texts = node.attributes.get_strings("classlabels_strings", ())
    classes = len(texts or node.attributes.get_ints("classlabels_int64s", ()))
    rows = _rows(node, classes)
    label = ir.DataType.STRING if texts else ir.DataType.INT64
    return [(label, None if rows is None else ir.Shape([rows[0]])), (ir.DataType.FLOAT, rows)]


def _first(node: ir.Node) -> ir.Value:
    return node.inputs[0] or ir.Value()


def _copy(shape: ir.Shape | None) -> ir.Shape | None:
    return None if shape is None else shape.copy()


def _rows(node: ir.Node, width: int | None) -> ir.Shape | None:
    """(rows of the first input, width); of a vector, which is one row, nothing is said."""
    shape = _first(node).shape
    return None if shape is None or len(shape) != 2 else ir.Shape([shape[0], width])


_RULES: dict[str, Callable[[ir.Node], list[_Port]]] = {
    "FeatureVectorizer": _joined,
    "Imputer": _imputed,
    "LinearRegressor": _regressed,
    "Normalizer": _normalized,
    "SVMRegressor": _regressed,
    "Scaler": _scaled,
    "TreeEnsembleClassifier": _classified,
    "TreeEnsembleRegressor": _regressed,
}
