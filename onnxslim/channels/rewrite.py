"""The rewriter: the one place where slots are deleted, for all ops alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.channels.analysis import units as analyse
from onnxslim.channels.edit import Constants
from onnxslim.channels.units import Analysis, Size
from onnxslim.errors import UsageError
from onnxslim.graph import constants, shapes
from onnxslim.graph.cost import params
from onnxslim.runtime.session import check


def remove(
    model: ir.Model, units: Sequence[int] | np.ndarray, analysis: Analysis | None = None
) -> tuple[ir.Model, Account]:
    """``model`` without ``units``, and what that changed.

    Args:
        model: Not changed.
        units: Numbers, or a mask (count,).
        analysis: Of this very model; computed when not given.

    Raises:
        UsageError: Nothing would be left of some axis (:meth:`Analysis.spare` says what to give back).
        InvalidModelError: The runtime refuses the result, which would be a defect of a rule.
    """
    account = Account("remove")
    with account.timed():
        analysis = analysis or analyse(model)
        mask = analysis.mask(units)
        result = io.clone(model)
        apply(result, analysis, mask)
        shapes.infer(result)
        check(result)
        account.count("units", int(mask.sum()))
        account.count("parameters", params(model) - params(result))
    return result, account


def apply(model: ir.Model, analysis: Analysis, units: Sequence[int] | np.ndarray) -> None:
    """Delete ``units`` from ``model`` in place; shapes of its tensors follow.

    Raises:
        UsageError: Nothing would be left of some axis.
    """
    mask = analysis.mask(units)
    if analysis.emptied(mask):
        raise UsageError(
            "these units are all that some axis consists of", hint="Analysis.spare(units) gives one slot of each back"
        )
    if mask.any():
        _Rewriter(model, analysis, mask).run()


@dataclass
class _Edit:
    """What happens to one constant as one node reads it, by positions in :attr:`Analysis.labels`."""

    take: dict[int, int] = field(default_factory=dict)
    remap: int | None = None
    count: dict[int, int] = field(default_factory=dict)

    def key(self) -> tuple[object, ...]:
        return tuple(sorted(self.take.items())), self.remap, tuple(sorted(self.count.items()))


class _Rewriter:
    def __init__(self, model: ir.Model, analysis: Analysis, mask: np.ndarray) -> None:
        self.graph = model.graph
        self.analysis = analysis
        self.nodes = list(model.graph)
        self.keep = [analysis.keep(position, mask) for position in range(len(analysis.labels))]
        self.constants = Constants(model)
        self.edits: dict[tuple[int, int], _Edit] = {}

    def run(self) -> None:
        for site in self.analysis.sites:
            if not self.keep[site.labels].all():
                self._edit(site.node, site.input).take[site.axis] = site.labels
        for remap in self.analysis.remaps:
            if not self.keep[remap.labels].all():
                self._edit(remap.node, remap.input).remap = remap.labels
        for size in self.analysis.sizes:
            self._resize(size)
        self._rewrite_constants()
        self._follow_shapes()

    def _edit(self, node: int, i: int) -> _Edit:
        return self.edits.setdefault((node, i), _Edit())

    def _resize(self, size: Size) -> None:
        moved = not all(self.keep[labels].all() for labels in size.sources)
        changed = {e: labels for e, labels in size.counts.items() if moved or not self.keep[labels].all()}
        fixed = size.fixed if moved else {}
        if not changed and not fixed:
            return
        node = self.nodes[size.node]
        counts = {e: int(self.keep[labels].sum()) for e, labels in size.counts.items()}
        if isinstance(size.target, str):
            _set_attribute(node, size.target, counts)
        elif size.target >= len(node.inputs) or node.inputs[size.target] is None:
            node.resize_inputs(max(size.target + 1, len(node.inputs)))
            node.replace_input_with(size.target, self.constants.new(np.asarray(list(counts.values())), "sizes"))
            node.attributes.pop("num_outputs", None)
        elif constants.tensor(node.inputs[size.target]) is not None:
            self._edit(size.node, size.target).count.update(changed)
        else:
            self._overrule(node, size.target, size.length, {e: counts[e] for e in changed} | fixed)

    def _overrule(self, node: ir.Node, i: int, length: int, counts: dict[int, int]) -> None:
        """Put known numbers over elements of a vector that is computed at run time."""
        live = node.inputs[i]
        assert live is not None
        dtype = live.dtype or ir.DataType.INT64
        over: np.ndarray = np.zeros(length, bool)
        value: np.ndarray = np.zeros(length, dtype.numpy())
        for e, count in counts.items():
            over[e], value[e] = True, count
        shape = () if live.shape is not None and live.shape.rank() == 0 else (length,)
        over, value = over.reshape(shape), value.reshape(shape)
        where = ir.node("Where", [self.constants.new(over, "over"), self.constants.new(value, "sizes"), live])
        where.name = where.outputs[0].name = self.constants.fresh(f"{node.outputs[0].name}_sizes")
        where.outputs[0].shape, where.outputs[0].type = ir.Shape(shape), ir.TensorType(dtype)
        self.graph.insert_before(node, where)
        node.replace_input_with(i, where.outputs[0])

    def _rewrite_constants(self) -> None:
        readers: dict[ir.Value, dict[tuple[object, ...], list[tuple[int, int]]]] = {}
        for (position, i), edit in self.edits.items():
            value = self.nodes[position].inputs[i]
            assert value is not None
            readers.setdefault(value, {}).setdefault(edit.key(), []).append((position, i))
        for value, groups in readers.items():
            array = constants.constant(value)
            assert array is not None
            everyone = sum(len(group) for group in groups.values()) == len(value.uses())
            in_place = everyone and not value.is_graph_output()
            for group in reversed(list(groups.values())):  # the first may take the place of the original, so it is last
                new = self._edited(array, self.edits[group[0]])
                if in_place and group is next(iter(groups.values())):
                    self.constants.overwrite(value, new)
                    continue
                copy = self.constants.new(new, f"{value.name}_kept")
                for position, i in group:
                    self.nodes[position].replace_input_with(i, copy)

    def _edited(self, array: np.ndarray, edit: _Edit) -> np.ndarray:
        if edit.remap is not None:
            keep = self.keep[edit.remap]
            array = (np.cumsum(keep) - 1)[array].astype(array.dtype)
        for axis, labels in edit.take.items():
            array = np.take(array, np.flatnonzero(self.keep[labels]), axis=axis)
        if edit.count:
            array = array.copy()
            for e, labels in edit.count.items():
                array.flat[e] = self.keep[labels].sum()
        return np.ascontiguousarray(array).reshape(array.shape)

    def _follow_shapes(self) -> None:
        """Sizes are known exactly, so shape inference starts from the truth."""
        for node in self.nodes:
            for value in node.outputs:
                labels = self.analysis.values.get(value.name or "")
                if labels is not None and value.shape is not None and len(labels) == len(value.shape):
                    dims = list(value.shape)
                    for a, position in enumerate(labels):
                        dims[a] = dims[a] if position is None else int(self.keep[position].sum())
                    value.shape = ir.Shape(dims)


def _set_attribute(node: ir.Node, name: str, counts: dict[int, int]) -> None:
    old = node.attributes.get(name)
    if name == "split" or (old is not None and old.type == ir.AttributeType.INTS):
        values = list(old.as_ints()) if old is not None else [0] * len(counts)
        for e, count in counts.items():
            values[e] = count
        node.attributes[name] = ir.AttrInt64s(name, values)
    else:
        node.attributes[name] = ir.AttrInt64(name, counts[0])
