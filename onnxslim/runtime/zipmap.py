"""ZipMap: the op that classifiers of scikit-learn end in, which gives a dictionary per sample, class to score.

What compares and judges outputs wants the tensor behind it, (samples, classes), with the classes in the op's order.

Specification: ZipMap in https://github.com/onnx/onnx/blob/main/docs/Operators-ml.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

ClassLabels = Sequence[int] | Sequence[str]


def find_zipmap_outputs(model: ir.Model) -> dict[str, ClassLabels]:
    """The outputs of ``model`` that a ZipMap makes, by name, each with its classes."""
    found: dict[str, ClassLabels] = {}
    for value in model.graph.outputs:
        node = value.producer()
        while node is not None and node.op_type == "Identity" and not node.domain and node.inputs[0] is not None:
            node = node.inputs[0].producer()
        if node is None or (node.domain, node.op_type) != ("ai.onnx.ml", "ZipMap"):
            continue
        texts = node.attributes.get_strings("classlabels_strings", ())
        found[str(value.name)] = texts or node.attributes.get_ints("classlabels_int64s", ())
    return found


def stack_scores(rows: Sequence[Mapping[int, float] | Mapping[str, float]], labels: ClassLabels) -> np.ndarray:
    """What a ZipMap gave, a dictionary per sample, as the tensor that it was made of; shape (samples, classes), float32."""
    scores = [[row[label] for label in labels] for row in rows]  # type: ignore[index]
    return np.asarray(scores, np.float32).reshape(len(rows), len(labels))


def note_zipmaps(model: ir.Model) -> list[str]:
    """A line for each output of ``model`` that is judged by the tensor behind it."""
    return [f"output {name} is a ZipMap's: what is judged is the tensor behind it" for name in find_zipmap_outputs(model)]
