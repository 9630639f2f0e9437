"""What is known of the channels that each consumer sums, and how its bias and weight absorb those that go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.channels.analysis.units import Analysis, Consumer
from onnxslim.channels.lossless.facts import ChannelFacts
from onnxslim.channels.lossless.layout_view import has_padding
from onnxslim.graph import constants
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.layers import LinearLayer

#: Weights are only changed where a changed weight is as exact as the original.
EXACT_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True)
class ConsumerFacts:
    """One consumer, slot by slot of its :attr:`Consumer.labels` (n slots).

    Attributes:
        consumer: The consumer.
        unread: bool (n,): its weight's column is zero.
        constant_value: float64 (groups, n): the constant that each group's slot is, nan where it is none.
        can_fold: Whether constants can go into its bias.
        base: int64 (n,): slots of one base are multiples of each other; None where that cannot be used.
        factor: float64 (n,): how many times their base they are.
    """

    consumer: Consumer
    unread: np.ndarray
    constant_value: np.ndarray
    can_fold: bool
    base: np.ndarray | None
    factor: np.ndarray

    @property
    def idle(self) -> np.ndarray:
        """bool (n,): slots that contribute nothing."""
        return np.asarray(self.unread | (self.constant_value == 0).all(axis=0))

    @property
    def is_constant(self) -> np.ndarray:
        """bool (n,): slots that contribute a constant, border aside."""
        return np.asarray(~np.isnan(self.constant_value).any(axis=0) & ~self.idle)


def find_consumer_facts(model: ir.Model, analysis: Analysis, facts: Mapping[ir.Value, ChannelFacts]) -> list[ConsumerFacts]:
    """A reader for each consumer; ``facts`` are of the values of this very ``model``."""
    nodes = list(model.graph)
    return [
        _find_consumer_facts(nodes[consumer.node], consumer, len(analysis.labels[consumer.labels]), facts)
        for consumer in analysis.consumers
    ]


def _find_consumer_facts(
    node: ir.Node, consumer: Consumer, size: int, facts: Mapping[ir.Value, ChannelFacts]
) -> ConsumerFacts:
    reads_itself = consumer.weight is not None and consumer.weight.input == consumer.input
    # a recurrence sums its own last state, of which its output tells
    input_facts = (
        facts.get(node.outputs[0]) if reads_itself else _find_input_facts(node, consumer.input, consumer.axis, facts)
    )
    unknown = np.full((1, size), np.nan)
    weight = constants.get_const_array(node.inputs[consumer.weight.input]) if consumer.weight is not None else None
    none_unread: np.ndarray = np.zeros(size, bool)
    if consumer.weight is None or weight is None:
        sides = [input_facts]
        if node.op_type == "MatMul":
            sides.append(_find_input_facts(node, 1 - consumer.input, -1 - (consumer.input == 0), facts))
        zero = none_unread.copy()
        for side in sides:
            if side is not None and len(side) == size:
                zero |= side.is_zero
        return ConsumerFacts(consumer, none_unread, np.where(zero, 0.0, unknown), False, None, np.ones(size))
    unread = np.logical_not(np.moveaxis(weight, consumer.weight.axis, 0).reshape(size, -1).any(axis=1))
    if input_facts is None or len(input_facts) % size:
        return ConsumerFacts(consumer, unread, unknown, False, None, np.ones(size))
    value = np.where(input_facts.is_constant, input_facts.factor, np.nan).reshape(-1, size)
    is_exact = weight.dtype in EXACT_DTYPES and node.op_type in _CAN_FOLD
    can_merge = is_exact and len(value) == 1 and node.attributes.get_int("group", 1) == 1
    can_fold = is_exact and _CAN_FOLD[node.op_type](node, consumer)
    return ConsumerFacts(consumer, unread, value, can_fold, input_facts.base if can_merge else None, input_facts.factor)


def _find_input_facts(node: ir.Node, i: int, axis: int, facts: Mapping[ir.Value, ChannelFacts]) -> ChannelFacts | None:
    value = node.inputs[i]
    input_facts = facts.get(value) if value is not None else None
    if input_facts is None or (axis < 0 and (value is None or value.shape is None)):
        return None
    positive_axis = axis if axis >= 0 or value is None or value.shape is None else axis + value.shape.rank()
    return input_facts if input_facts.axis == positive_axis else None


class BiasAbsorber:
    """Makes the consumers of one model do without the channels that go.

    :meth:`absorb` the channels are removed, existing weights and biases change at full size; :meth:`add_biases`, new biases
    are added, which the analysis does not know of.
    """

    def __init__(self, model: ir.Model, analysis: Analysis, removed: np.ndarray) -> None:
        self._nodes = list(model.graph)
        self._editor = GraphEditor(model.graph, numbered_from=1)
        self._analysis = analysis
        self._removed = removed
        self._new_biases: list[tuple[ir.Node, int, np.ndarray]] = []

    def absorb(self, consumer_facts: Sequence[ConsumerFacts], moves: Mapping[tuple[int, int], tuple[int, float]]) -> None:
        """Carry out ``moves``, (reader, slot) -> (slot that takes it over, how many times), and fold what else goes."""
        targets: dict[int, list[tuple[int, int, float]]] = {}
        for (number, slot), (target, times) in moves.items():
            targets.setdefault(number, []).append((slot, target, times))
        for number, reader in enumerate(consumer_facts):
            gone = ~self._analysis.kept_slots(reader.consumer.labels, self._removed)
            moved_slots = [move for move in targets.get(number, ()) if gone[move[0]]]
            folded = gone & reader.is_constant
            folded[[slot for slot, _, _ in moved_slots]] = False
            site = reader.consumer.weight
            if site is None or not (moved_slots or folded.any()):
                continue
            node = self._nodes[reader.consumer.node]
            array = constants.get_const_array(node.inputs[site.input])
            assert array is not None
            weight = np.moveaxis(array.astype(np.float64), site.axis, 0)
            if folded.any():
                self._fold(node, site.axis, array, np.where(folded, reader.constant_value, 0.0))
            for slot, target, times in moved_slots:
                weight[target] += times * weight[slot]
            if moved_slots:
                self._replace_constant(node, site.input, np.moveaxis(weight, 0, site.axis))

    def _fold(self, node: ir.Node, axis: int, weight: np.ndarray, value: np.ndarray) -> None:
        """Add what channels of constant ``value`` (groups, n) contribute to the bias."""
        rows = np.moveaxis(weight.astype(np.float64), axis, 1)
        rows = rows.reshape(len(value), -1, rows.shape[1], int(np.prod(rows.shape[2:]))).sum(axis=3)
        shift = np.einsum("grk,gk->gr", rows, value).ravel()
        if node.op_type == "Gemm":
            shift *= node.attributes.get_float("alpha", 1.0) / node.attributes.get_float("beta", 1.0)
        bias_input = _find_matmul_bias(node) if node.op_type == "MatMul" else (node, 2)
        assert bias_input is not None
        bias_node, i = bias_input
        bias = constants.get_const_array(bias_node.inputs[i]) if i < len(bias_node.inputs) else None
        if bias is None:
            labels = self._find_weight_labels(node, 1 - axis if node.op_type == "Gemm" else 0)
            kept = slice(None) if labels is None else self._analysis.kept_slots(labels, self._removed)
            self._new_biases.append((bias_node, i, shift[kept].astype(weight.dtype)))
        else:
            self._replace_constant(bias_node, i, bias.astype(np.float64) + shift.reshape(bias.shape))

    def _replace_constant(self, node: ir.Node, index: int, array: np.ndarray) -> None:
        old = node.inputs[index]
        assert old is not None
        self._editor.set_constant(node, index, array, f"{old.name}_kept")

    def _find_weight_labels(self, node: ir.Node, axis: int) -> int | None:
        position = self._nodes.index(node)
        matches = (s.labels for s in self._analysis.sites if (s.node, s.input, s.axis) == (position, 1, axis))
        return next(matches, None)

    def add_biases(self) -> None:
        """Add the biases of consumers that had none."""
        for node, i, bias in self._new_biases:
            self._editor.set_constant(node, i, bias, f"{node.outputs[0].name}_bias")


def _can_fold_gemm(node: ir.Node, consumer: Consumer) -> bool:
    if consumer.input != 0 or node.attributes.get_float("beta", 1.0) == 0 or not _is_absent_or_constant(node, 2):
        return False
    bias = LinearLayer(node).bias
    return bias is None or (bias.size == LinearLayer(node).outputs and bias.ndim < 3)


def _find_matmul_bias(node: ir.Node) -> tuple[ir.Node, int] | None:
    """The Add that is all that reads a MatMul, and which of its inputs is a constant vector along the last axis."""
    weight, bias_input = constants.get_const_tensor(node.inputs[1]), LinearLayer(node).bias_input
    if weight is None or len(weight.shape) != 2 or bias_input is None:
        return None
    bias = constants.get_const_tensor(bias_input[0].inputs[bias_input[1]])
    return bias_input if bias is not None and len(bias.shape) == 1 else None


def _is_absent_or_constant(node: ir.Node, i: int) -> bool:
    return i >= len(node.inputs) or node.inputs[i] is None or constants.get_const_tensor(node.inputs[i]) is not None


#: op -> whether constants can go into the bias
_CAN_FOLD: dict[str, Callable[[ir.Node, Consumer], bool]] = {
    "Conv": lambda node, consumer: not has_padding(node) and _is_absent_or_constant(node, 2),
    "ConvTranspose": lambda node, consumer: False,
    "Gemm": _can_fold_gemm,
    "MatMul": lambda node, consumer: consumer.input == 0 and _find_matmul_bias(node) is not None,
}
