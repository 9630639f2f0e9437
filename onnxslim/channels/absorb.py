"""What a consumer knows of the channels it sums, and how it makes up for those that go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.channels.edit import Constants
from onnxslim.channels.facts import Facts
from onnxslim.channels.units import Analysis, Consumer
from onnxslim.channels.view import padded
from onnxslim.graph import constants

#: Weights are only changed where a changed weight is as exact as the original.
EXACT = (np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True)
class Reader:
    """One consumer, slot by slot of its :attr:`Consumer.labels` (n slots).

    Attributes:
        consumer: The consumer.
        unread: bool (n,): its weight's column is zero.
        value: float64 (groups, n): the constant that each group's slot is, nan where it is none.
        folds: Whether constants can go into its bias.
        base: int64 (n,): slots of one base are multiples of each other; None where that cannot be used.
        factor: float64 (n,): how many times their base they are.
    """

    consumer: Consumer
    unread: np.ndarray
    value: np.ndarray
    folds: bool
    base: np.ndarray | None
    factor: np.ndarray

    @property
    def idle(self) -> np.ndarray:
        """bool (n,): slots that contribute nothing."""
        found: np.ndarray = self.unread | (self.value == 0).all(axis=0)
        return found

    @property
    def constant(self) -> np.ndarray:
        """bool (n,): slots that contribute a constant, border aside."""
        found: np.ndarray = ~np.isnan(self.value).any(axis=0) & ~self.idle
        return found


def readers(model: ir.Model, analysis: Analysis, facts: Mapping[ir.Value, Facts]) -> list[Reader]:
    """A reader for each consumer; ``facts`` are of the values of this very ``model``."""
    nodes = list(model.graph)
    return [
        _reader(nodes[consumer.node], consumer, len(analysis.labels[consumer.labels]), facts)
        for consumer in analysis.consumers
    ]


def _reader(node: ir.Node, consumer: Consumer, size: int, facts: Mapping[ir.Value, Facts]) -> Reader:
    given = _given(node, consumer.input, consumer.axis, facts)
    unknown = np.full((1, size), np.nan)
    weight = constants.constant(node.inputs[consumer.weight.input]) if consumer.weight is not None else None
    nowhere: np.ndarray = np.zeros(size, bool)
    if consumer.weight is None or weight is None:
        other = (
            _given(node, 1 - consumer.input, -1 - (consumer.input == 0), facts) if node.op_type == "MatMul" else None
        )
        zero = nowhere.copy()
        for side in (given, other):
            if side is not None and len(side) == size:
                zero |= side.zero
        return Reader(consumer, nowhere, np.where(zero, 0.0, unknown), False, None, np.ones(size))
    unread = np.logical_not(np.moveaxis(weight, consumer.weight.axis, 0).reshape(size, -1).any(axis=1))
    if given is None or len(given) % size:
        return Reader(consumer, unread, unknown, False, None, np.ones(size))
    value = np.where(given.constant, given.factor, np.nan).reshape(-1, size)
    linear = weight.dtype in EXACT and node.op_type in _FOLDS
    merges = linear and len(value) == 1 and node.attributes.get_int("group", 1) == 1
    folds = linear and _FOLDS[node.op_type](node, consumer)
    return Reader(consumer, unread, value, folds, given.base if merges else None, given.factor)


def _given(node: ir.Node, i: int, axis: int, facts: Mapping[ir.Value, Facts]) -> Facts | None:
    value = node.inputs[i]
    found = facts.get(value) if value is not None else None
    if found is None or (axis < 0 and (value is None or value.shape is None)):
        return None
    wanted = axis if axis >= 0 or value is None or value.shape is None else axis + value.shape.rank()
    return found if found.axis == wanted else None


class Absorber:
    """Makes the consumers of one model do without the channels that go.

    :meth:`before` the channels are removed, existing weights and biases change at full size; :meth:`after`, new biases
    are added, which the analysis does not know of.
    """

    def __init__(self, model: ir.Model, analysis: Analysis, removed: np.ndarray) -> None:
        self._nodes = list(model.graph)
        self._constants = Constants(model)
        self._analysis = analysis
        self._removed = removed
        self._new: list[tuple[ir.Node, int, np.ndarray]] = []

    def before(self, found: Sequence[Reader], moves: Mapping[tuple[int, int], tuple[int, float]]) -> None:
        """Carry out ``moves``, (reader, slot) -> (slot that takes it over, how many times), and fold what else goes."""
        targets: dict[int, list[tuple[int, int, float]]] = {}
        for (number, slot), (target, times) in moves.items():
            targets.setdefault(number, []).append((slot, target, times))
        for number, reader in enumerate(found):
            gone = ~self._analysis.keep(reader.consumer.labels, self._removed)
            moved = [move for move in targets.get(number, ()) if gone[move[0]]]
            folded = gone & reader.constant
            folded[[slot for slot, _, _ in moved]] = False
            site = reader.consumer.weight
            if site is None or not (moved or folded.any()):
                continue
            node = self._nodes[reader.consumer.node]
            array = constants.constant(node.inputs[site.input])
            assert array is not None
            weight = np.moveaxis(array.astype(np.float64), site.axis, 0)
            if folded.any():
                self._fold(node, site.axis, array, np.where(folded, reader.value, 0.0))
            for slot, target, times in moved:
                weight[target] += times * weight[slot]
            if moved:
                self._constants.write(node, site.input, np.moveaxis(weight, 0, site.axis))

    def _fold(self, node: ir.Node, axis: int, weight: np.ndarray, value: np.ndarray) -> None:
        """Add what channels of constant ``value`` (groups, n) contribute to the bias."""
        rows = np.moveaxis(weight.astype(np.float64), axis, 1)
        rows = rows.reshape(len(value), -1, rows.shape[1], int(np.prod(rows.shape[2:]))).sum(axis=3)
        shift = np.einsum("grk,gk->gr", rows, value).ravel()
        if node.op_type == "Gemm":
            shift *= node.attributes.get_float("alpha", 1.0) / node.attributes.get_float("beta", 1.0)
        reading = _bias_of_matmul(node) if node.op_type == "MatMul" else (node, 2)
        assert reading is not None
        reader, i = reading
        bias = constants.constant(reader.inputs[i]) if i < len(reader.inputs) else None
        if bias is None:
            labels = self._labels(node, 1 - axis if node.op_type == "Gemm" else 0)
            kept = slice(None) if labels is None else self._analysis.keep(labels, self._removed)
            self._new.append((reader, i, shift[kept].astype(weight.dtype)))
        else:
            self._constants.write(reader, i, bias.astype(np.float64) + shift.reshape(bias.shape))

    def _labels(self, node: ir.Node, axis: int) -> int | None:
        position = self._nodes.index(node)
        found = (s.labels for s in self._analysis.sites if (s.node, s.input, s.axis) == (position, 1, axis))
        return next(found, None)

    def after(self) -> None:
        """Add the biases of consumers that had none."""
        for node, i, bias in self._new:
            node.resize_inputs(max(i + 1, len(node.inputs)))
            node.replace_input_with(i, self._constants.new(bias, f"{node.outputs[0].name}_bias"))


def _conv_folds(node: ir.Node, consumer: Consumer) -> bool:
    return not padded(node) and _open_or_constant(node, 2)


def _gemm_folds(node: ir.Node, consumer: Consumer) -> bool:
    if consumer.input != 0 or node.attributes.get_float("beta", 1.0) == 0 or not _open_or_constant(node, 2):
        return False
    bias, weight = (constants.tensor(node.inputs[i]) if i < len(node.inputs) else None for i in (2, 1))
    made = weight.shape[0 if node.attributes.get_int("transB", 0) else 1] if weight is not None else None
    return bias is None or (bias.size == made and len(bias.shape) < 3)


def _matmul_folds(node: ir.Node, consumer: Consumer) -> bool:
    return consumer.input == 0 and _bias_of_matmul(node) is not None


def _bias_of_matmul(node: ir.Node) -> tuple[ir.Node, int] | None:
    """The Add that is all that reads a MatMul, and which of its inputs is a constant vector along the last axis."""
    out, weight = node.outputs[0], constants.tensor(node.inputs[1])
    if len(out.uses()) != 1 or out.is_graph_output() or weight is None or len(weight.shape) != 2:
        return None
    use = next(iter(out.uses()))
    bias = constants.tensor(use.node.inputs[1 - use.idx]) if use.node.op_type == "Add" else None
    vector = bias is not None and len(bias.shape) == 1 and bias.shape[0] == weight.shape[1]
    return (use.node, 1 - use.idx) if vector else None


def _open_or_constant(node: ir.Node, i: int) -> bool:
    return i >= len(node.inputs) or node.inputs[i] is None or constants.tensor(node.inputs[i]) is not None


#: op -> whether constants can go into the bias
_FOLDS: dict[str, Callable[[ir.Node, Consumer], bool]] = {
    "Conv": _conv_folds,
    "ConvTranspose": lambda node, consumer: False,
    "Gemm": _gemm_folds,
    "MatMul": _matmul_folds,
}
