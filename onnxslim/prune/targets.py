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

from onnxslim.graph.constants import constant
from onnxslim.prune import layers as linear
from onnxslim.prune.layers import Layer
from onnxslim.prune.walk import reads

#: Ops whose output is another one when they lose input channels; all others just lose theirs.
_MIXES = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN"}
    | {"LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization"}
)
#: Activations for which f(f(x)) = f(x).
_IDEMPOTENT = frozenset({"Relu", "Clip"})


@dataclass(frozen=True)
class Target:
    """What one layer is fitted to.

    Attributes:
        layer: The layer.
        result: The value that is compared: its output, or the sum that goes into.
        other: The other side of that sum, or None.
        takes_over: Sums of the original, behind blocks left out, that ``result`` now stands for; the last one counts.
    """

    layer: Layer
    result: ir.Value
    other: str | None
    takes_over: tuple[str, ...]

    @property
    def tensor(self) -> str:
        """The original's tensor that ``result`` should become."""
        return self.takes_over[-1] if self.takes_over else str(self.result.name)

    @property
    def given(self) -> list[str]:
        """The tensors that it is computed from: what the layer reads and, in a sum, the other side."""
        return [self.layer.input, *([] if self.other is None else [self.other])]


def targets(pruned: ir.Model, original: ir.Model, formed: Container[str] = ()) -> list[Target]:
    """A target for every layer of ``pruned`` whose input has changed or that has to take over for a dropped block.

    Args:
        pruned: What is left.
        original: What it comes from.
        formed: Layers (:attr:`Layer.raw`) that will be something else than they were, whatever their input.
    """
    nodes = list(pruned.graph)
    before = {str(node.outputs[0].name): node for node in original.graph if node.outputs}
    dropped = frozenset(
        name
        for node in nodes
        if node.op_type == "Identity" and (name := str(node.outputs[0].name)) in before
        if before[name].op_type != "Identity"
    )
    known = {layer.position: layer for layer in linear.find(pruned.graph)}
    fresh = {p: _takes_over(_sum_of(nodes[p], known[p])[0], dropped) for p in known} if dropped else {}
    dirty: set[str] = set()
    waiting: list[int] = []
    for position, node in enumerate(nodes):
        was = before.get(str(node.outputs[0].name) if node.outputs else "")
        fed = any(value.name in dirty for value in reads(node))
        forms = position in known and known[position].raw in formed
        if fed or was is None or forms or _differs(node, was) or fresh.get(position):
            dirty.update(str(value.name) for value in node.outputs)
            if position in known and was is not None:
                waiting.append(position)
    at = {node: position for position, node in enumerate(nodes)}
    found = []
    for number, position in enumerate(waiting):
        result, other = _sum_of(nodes[position], known[position])
        if other is not None and not _settled(other, position, set(waiting[number + 1 :]), at):
            result, other = _own(nodes[position], known[position]), None
        side = None if other is None else str(other.name)
        found.append(Target(known[position], result, side, _takes_over(result, dropped)))
    return found


def _differs(node: ir.Node, was: ir.Node) -> bool:
    """Whether ``node`` computes something else than it did, not just less of it."""
    if node.op_type != was.op_type:
        return True
    pairs = [(constant(new), constant(old)) for new, old in zip(node.inputs, was.inputs, strict=False)]
    if any((new is None) != (old is None) for new, old in pairs):
        return True
    return node.op_type in _MIXES and any(
        new is not None and old is not None and _lost_inputs(node, new.shape, old.shape) for new, old in pairs
    )


def _lost_inputs(node: ir.Node, new: tuple[int, ...], old: tuple[int, ...]) -> bool:
    """Whether a constant has lost slots of an axis that is summed over."""
    if new == old or len(new) != len(old):
        return new != old
    if node.op_type == "Conv":
        return new[1:] != old[1:]
    if node.op_type == "ConvTranspose" and len(new) > 1:
        return new[0] != old[0]
    if len(new) == 1:
        return node.op_type.endswith("Normalization")
    outputs = 0 if node.op_type == "Gemm" and node.attributes.get_int("transB", 0) != 0 else len(new) - 1
    return any(n != o for axis, (n, o) in enumerate(zip(new, old, strict=True)) if axis != outputs)


def _own(node: ir.Node, layer: Layer) -> ir.Value:
    """The layer's output, its bias added."""
    value = node.outputs[0]
    return value if layer.output == layer.raw else next(iter(value.uses()))[0].outputs[0]


def _sum_of(node: ir.Node, layer: Layer) -> tuple[ir.Value, ir.Value | None]:
    """The sum that the layer's output goes into and its other side, if nothing else reads that output."""
    output = _own(node, layer)
    add = _only_reader(output)
    if add is None or add.op_type != "Add" or len(add.inputs) != 2 or add.inputs[0] is add.inputs[1]:
        return output, None
    other = add.inputs[1] if add.inputs[0] is output else add.inputs[0]
    if other is None or constant(other) is not None or _shape(other) != _shape(output):
        return output, None
    return add.outputs[0], other


def _settled(value: ir.Value, position: int, waiting: set[int], at: dict[ir.Node, int]) -> bool:
    """Whether ``value`` does not depend on a layer that is still to be fitted."""
    stack, seen = [value], set()
    while stack:
        producer = stack.pop().producer()
        if producer is None or producer in seen or at.get(producer, -1) <= position:
            continue
        if at[producer] in waiting:
            return False
        seen.add(producer)
        stack += list(reads(producer))
    return True


def _takes_over(value: ir.Value, dropped: frozenset[str]) -> tuple[str, ...]:
    """The dropped sums that ``value`` alone now makes."""
    found: list[str] = []
    while (reader := _only_reader(value)) is not None:
        if reader.op_type in _IDEMPOTENT:
            passed = _only_reader(reader.outputs[0])
            if passed is None or linear.flat(passed.outputs[0]) != linear.flat(value):
                break
            reader = passed
        if str(reader.outputs[0].name) not in dropped:
            break
        value = reader.outputs[0]
        found.append(str(value.name))
    return tuple(found)


def _only_reader(value: ir.Value) -> ir.Node | None:
    readers = [node for node, _ in value.uses()]
    return readers[0] if len(readers) == 1 and not value.is_graph_output() else None


def _shape(value: ir.Value) -> list[object] | None:
    return None if value.shape is None else [d if isinstance(d, int) else str(d) for d in value.shape]
