"""NaN as missing values: where a model asks for them, and which of its tensors hold them until then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir

#: Ops that pass numbers on unchanged.
VALUE_PRESERVING_OPS = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
#: Ops that ask which numbers are NaN; those whose first input's NaN come out as such; and those of any input.
_ASKING_OPS = ("IsNaN", "Imputer", "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor")
_MOVING_OPS = (*VALUE_PRESERVING_OPS, "ArrayFeatureExtractor", "Gather", "Scaler", "Slice", "Split")
_JOINING_OPS = ("Add", "Concat", "Div", "FeatureVectorizer", "Mul", "Sub")


def takes_missing_values(value: ir.Value) -> bool:
    """Whether the model asks which numbers of ``value`` are NaN, in the graph or in a body."""
    return any(_asks(node) for one in _follow([value]) for node, _ in one.uses())


def find_missing_values(graph: ir.Graph) -> frozenset[ir.Value]:
    """The tensors through which what the inputs of ``graph`` miss reaches what asks for it."""
    asked_inputs = [value for value in graph.inputs if takes_missing_values(value)]
    return frozenset(value for value in _follow(asked_inputs) if takes_missing_values(value))


def _asks(node: ir.Node) -> bool:
    if node.domain not in ("", "ai.onnx.ml"):
        return False
    # what is not equal to itself is NaN
    return node.op_type in _ASKING_OPS or (node.op_type == "Equal" and node.inputs[0] is node.inputs[1])


def _follow(values: Iterable[ir.Value]) -> Iterator[ir.Value]:
    """``values`` and what their NaN come out of, each once."""
    pending = list(values)
    seen = set(pending)
    while pending:
        yield (value := pending.pop())
        for node, position in value.uses():
            if node.domain in ("", "ai.onnx.ml") and (
                node.op_type in _JOINING_OPS or (node.op_type in _MOVING_OPS and position == 0)
            ):
                new = [output for output in node.outputs if output not in seen]
                pending += new
                seen.update(new)
