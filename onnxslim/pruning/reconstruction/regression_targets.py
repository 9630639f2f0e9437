"""What each layer of a pruned model should give out: graphs only, no numbers.

A layer is fitted to what the original gave out at the same place, with two refinements.

*Sums.* Where its output goes into a sum and nowhere else, output + other = total, it is fitted to the original's total
minus what ``other`` now is. So it makes up for errors that the other branch (a residual stream) has already gathered.

*Blocks left out.* In x₁ = f(s₁), s₂ = x₁ + block(x₁), x₂ = f(s₂), leaving the block out makes x₂ = f(f(s₁)). With an
activation that does nothing the second time (Relu, Clip, or none) that is f(s₁): the layer that ends in s₁ is fitted
to the original's s₂ instead, and takes over the block's work as well as it can.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.graph.clip_bounds import find_flat_bounds
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.layers import LAYER_OPS, LinearLayer, find_linear_layers, get_output_axis
from onnxslim.graph.traversal import iter_reads

#: Ops whose output is another one when they lose input channels; all others just lose theirs.
_MIXING_OPS = frozenset(
    LAYER_OPS
    | {"Einsum", "LSTM", "GRU", "RNN"}
    | {"LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization"}
)
#: Activations for which f(f(x)) = f(x).
_IDEMPOTENT_OPS = frozenset({"Relu", "Clip"})


@dataclass(frozen=True)
class RegressionTarget:
    """What one layer is fitted to.

    Attributes:
        layer: The layer.
        position: Of its node in the graph.
        output: The value that is compared: its output, or the sum that goes into.
        other_addend: The other side of that sum, or None.
        replaced_sums: Sums of the original, behind blocks left out, that ``output`` now stands for; the last one counts.
    """

    layer: LinearLayer
    position: int
    output: ir.Value
    other_addend: str | None
    replaced_sums: tuple[str, ...]

    @property
    def reference_tensor(self) -> str:
        """The original's tensor that ``output`` should become."""
        return self.replaced_sums[-1] if self.replaced_sums else str(self.output.name)

    @property
    def input_tensors(self) -> list[str]:
        """The tensors that it is computed from: what the layer reads and, in a sum, the other side."""
        return [self.layer.input, *([] if self.other_addend is None else [self.other_addend])]


def find_targets(pruned: ir.Model, original: ir.Model, factorized: Container[str] = ()) -> list[RegressionTarget]:
    """A target for every layer of ``pruned`` whose input has changed or that has to take over for a dropped block.

    Args:
        pruned: What is left.
        original: What it comes from.
        factorized: Layers, by :attr:`LinearLayer.node_output`, that will be something else, whatever their input.
    """
    nodes = list(pruned.graph)
    original_nodes = {str(node.outputs[0].name): node for node in original.graph if node.outputs}
    dropped = frozenset(
        name
        for node in nodes
        if node.op_type == "Identity" and (name := str(node.outputs[0].name)) in original_nodes
        if original_nodes[name].op_type != "Identity"
    )
    linear_layers = find_linear_layers(pruned.graph)
    replaced_sums = (
        {p: _find_replaced_sums(_find_sum(layer)[0], dropped) for p, layer in linear_layers.items()} if dropped else {}
    )
    changed_tensors: set[str] = set()
    waiting: list[int] = []
    for position, node in enumerate(nodes):
        original_node = original_nodes.get(str(node.outputs[0].name) if node.outputs else "")
        reads_changed = any(value.name in changed_tensors for value in iter_reads(node))
        is_factorized = position in linear_layers and linear_layers[position].node_output in factorized
        if (
            reads_changed
            or original_node is None
            or is_factorized
            or _has_changed(node, original_node)
            or replaced_sums.get(position)
        ):
            changed_tensors.update(str(value.name) for value in node.outputs)
            if position in linear_layers and original_node is not None:
                waiting.append(position)
    position_of = {node: position for position, node in enumerate(nodes)}
    regression_targets = []
    for number, position in enumerate(waiting):
        result, other = _find_sum(linear_layers[position])
        if other is not None and not _is_settled(other, position, set(waiting[number + 1 :]), position_of):
            result, other = linear_layers[position].output, None
        other_name = None if other is None else str(other.name)
        regression_targets.append(
            RegressionTarget(linear_layers[position], position, result, other_name, _find_replaced_sums(result, dropped))
        )
    return regression_targets


def _has_changed(node: ir.Node, original: ir.Node) -> bool:
    """Whether ``node`` computes something else than it did, not just less of it."""
    if node.op_type != original.op_type:
        return True
    pairs = [(get_const_array(new), get_const_array(old)) for new, old in zip(node.inputs, original.inputs, strict=False)]
    if any((new is None) != (old is None) for new, old in pairs):
        return True
    return node.op_type in _MIXING_OPS and any(
        new is not None and old is not None and _has_lost_inputs(node, new.shape, old.shape) for new, old in pairs
    )


def _has_lost_inputs(node: ir.Node, new: tuple[int, ...], old: tuple[int, ...]) -> bool:
    """Whether a constant has lost slots of an axis that is summed over."""
    if new == old or len(new) != len(old):
        return new != old
    if len(new) == 1:
        return node.op_type.endswith("Normalization")
    outputs = get_output_axis(node) % len(new)
    return any(n != o for axis, (n, o) in enumerate(zip(new, old, strict=True)) if axis != outputs)


def _find_sum(layer: LinearLayer) -> tuple[ir.Value, ir.Value | None]:
    """The sum that the layer's output goes into and its other side, if nothing else reads that output."""
    output = layer.output
    add = _only_reader(output)
    if add is None or add.op_type != "Add" or len(add.inputs) != 2 or add.inputs[0] is add.inputs[1]:
        return output, None
    other = add.inputs[1] if add.inputs[0] is output else add.inputs[0]
    if other is None or get_const_array(other) is not None or _shape(other) != _shape(output):
        return output, None
    return add.outputs[0], other


def _is_settled(value: ir.Value, position: int, waiting: set[int], position_of: dict[ir.Node, int]) -> bool:
    """Whether ``value`` does not depend on a layer that is still to be fitted."""
    stack, seen = [value], set()
    while stack:
        producer = stack.pop().producer()
        if producer is None or producer in seen or position_of.get(producer, -1) <= position:
            continue
        if position_of[producer] in waiting:
            return False
        seen.add(producer)
        stack += list(iter_reads(producer))
    return True


def _find_replaced_sums(value: ir.Value, dropped: frozenset[str]) -> tuple[str, ...]:
    """The dropped sums that ``value`` alone now makes."""
    sums: list[str] = []
    while (reader := _only_reader(value)) is not None:
        if reader.op_type in _IDEMPOTENT_OPS:
            next_reader = _only_reader(reader.outputs[0])
            if next_reader is None or find_flat_bounds(next_reader.outputs[0]) != find_flat_bounds(value):
                break
            reader = next_reader
        if str(reader.outputs[0].name) not in dropped:
            break
        value = reader.outputs[0]
        sums.append(str(value.name))
    return tuple(sums)


def _only_reader(value: ir.Value) -> ir.Node | None:
    readers = [node for node, _ in value.uses()]
    return readers[0] if len(readers) == 1 and not value.is_graph_output() else None


def _shape(value: ir.Value) -> list[object] | None:
    return None if value.shape is None else [d if isinstance(d, int) else str(d) for d in value.shape]
