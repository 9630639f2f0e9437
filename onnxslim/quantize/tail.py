"""What no layer follows: its rounding is the answer's own, and there is next to nothing to gain by it.

Behind the last layers of a network there is arithmetic that makes answers of features: boxes of distances, probabilities
of scores. A layer averages the rounding of what it reads over hundreds of products; here a step of an 8-bit grid is a
step of the answer, and of a box that is some pixels. It stays float. Data may be moved in int8 there all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from onnxslim.graph import cost
from onnxslim.graph.constants import constant
from onnxslim.quantize.plan import Unit

#: Ops that compute a new value from each of a few; the others move or pool what is there.
ARITHMETIC = frozenset({"Add", "Mul", "Sigmoid", "LeakyRelu", "Softmax", "Where"})
#: A layer with no more than this share of the model's multiplications, and so few weights, is arithmetic too: a detector's
#: expectation over sixteen distances is exported as a Conv.
LITTLE_WORK, FEW_WEIGHTS = 1e-2, 256


def in_float(model: ir.Model, found: Sequence[Unit]) -> list[Unit]:
    """``found`` with what no layer follows in float.

    Args:
        model: What the units are of.
        found: Its units, in graph order.
    """
    light = _light(model, found)
    of_node = {node: unit for unit in found for node in unit.nodes}
    followed: dict[Unit, bool] = {}
    for unit in reversed(found):
        # what a nested graph reads may meet a layer there
        readers = [of_node.get(use.node) for value in unit.outputs for use in value.uses()]
        followed[unit] = any(
            reader is None or (reader.weighted and reader not in light) or followed[reader] for reader in readers
        )
    return [
        replace(unit, why_float="no layer follows: its rounding would be the answer's own")
        if unit.why_float is None and not followed[unit] and (unit.op in ARITHMETIC or unit in light)
        else unit
        for unit in found
    ]


def _light(model: ir.Model, found: Sequence[Unit]) -> frozenset[Unit]:
    """Layers that hardly count, neither in time nor in size."""
    weighted = [unit for unit in found if unit.weighted]
    each = cost.cost(model).nodes
    work = {unit: float(each[unit.name].macs) if unit.name in each else 0.0 for unit in weighted}
    held = {unit: weight.size if (weight := constant(unit.anchor.inputs[1])) is not None else 0 for unit in weighted}
    most = LITTLE_WORK * sum(work.values())
    return frozenset(unit for unit in weighted if work[unit] <= most and held[unit] <= FEW_WEIGHTS)
