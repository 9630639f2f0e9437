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
from onnxslim.graph.constants import get_const_array
from onnxslim.quantization.qdq.fusion_groups import FusionGroup

#: Ops that compute a new value from each of a few; the others move or pool what is there.
ARITHMETIC_OPS = frozenset({"Add", "Mul", "Sigmoid", "LeakyRelu", "Softmax", "Where"})
#: A layer with no more than this share of the model's multiplications, and so few weights, is arithmetic too: a detector's
#: expectation over sixteen distances is exported as a Conv.
MAX_LIGHT_MACS_SHARE, MAX_LIGHT_WEIGHTS = 1e-2, 256


def keep_head_in_float(model: ir.Model, all_units: Sequence[FusionGroup]) -> list[FusionGroup]:
    """``all_units`` of ``model``, in graph order, with what no layer follows in float."""
    light_layers = _find_light_layers(model, all_units)
    unit_of_node = {node: unit for unit in all_units for node in unit.nodes}
    is_followed: dict[FusionGroup, bool] = {}
    for unit in reversed(all_units):
        # what a nested graph reads may meet a layer there
        readers = [unit_of_node.get(use.node) for value in unit.outputs for use in value.uses()]
        is_followed[unit] = any(
            reader is None or (reader.has_weights and reader not in light_layers) or is_followed[reader]
            for reader in readers
        )
    return [
        replace(unit, why_float="no layer follows: its rounding would be the answer's own")
        if unit.why_float is None and not is_followed[unit] and (unit.op in ARITHMETIC_OPS or unit in light_layers)
        else unit
        for unit in all_units
    ]


def _find_light_layers(model: ir.Model, all_units: Sequence[FusionGroup]) -> frozenset[FusionGroup]:
    """Layers that hardly count, neither in time nor in size."""
    weighted = [unit for unit in all_units if unit.has_weights]
    node_costs = cost.compute_cost(model).nodes
    macs = {unit: float(node_costs[unit.name].macs) if unit.name in node_costs else 0.0 for unit in weighted}
    weight_counts = {
        unit: weight.size if (weight := get_const_array(unit.anchor.inputs[1])) is not None else 0 for unit in weighted
    }
    max_macs = MAX_LIGHT_MACS_SHARE * sum(macs.values())
    return frozenset(unit for unit in weighted if macs[unit] <= max_macs and weight_counts[unit] <= MAX_LIGHT_WEIGHTS)
