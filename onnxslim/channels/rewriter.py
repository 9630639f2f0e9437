"""The rewriter: the one place where slots are deleted, for all ops alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.channels.analysis.units import Analysis, DependentSize
from onnxslim.core.errors import UsageError
from onnxslim.graph import constants
from onnxslim.graph.editor import GraphEditor, overwrite


def delete_units(model: ir.Model, analysis: Analysis, units: Sequence[int] | np.ndarray) -> None:
    """Delete ``units`` (numbers, or a mask) from the model that ``analysis`` is of, in place; shapes of its tensors follow.

    Raises:
        UsageError: Nothing would be left of some axis (:meth:`Analysis.spare` says what to give back).
    """
    mask = analysis.to_mask(units)
    if analysis.find_emptied_axes(mask):
        raise UsageError(
            "these units are all that some axis consists of", hint="Analysis.spare(units) gives one slot of each back"
        )
    if mask.any():
        _Rewriter(model, analysis, mask).run()


@dataclass
class _ConstantEdit:
    """What happens to one constant as one node reads it, by positions in :attr:`Analysis.labels`."""

    axis_labels: dict[int, int] = field(default_factory=dict)
    index_labels: int | None = None
    size_labels: dict[int, int] = field(default_factory=dict)

    def key(self) -> tuple[object, ...]:
        return tuple(sorted(self.axis_labels.items())), self.index_labels, tuple(sorted(self.size_labels.items()))


class _Rewriter:
    def __init__(self, model: ir.Model, analysis: Analysis, mask: np.ndarray) -> None:
        self.graph = model.graph
        self.analysis = analysis
        self.nodes = list(model.graph)
        self.keep = [analysis.kept_slots(position, mask) for position in range(len(analysis.labels))]
        self.editor = GraphEditor(model.graph, numbered_from=1)
        self.edits: defaultdict[tuple[int, int], _ConstantEdit] = defaultdict(_ConstantEdit)

    def run(self) -> None:
        for site in self.analysis.sites:
            if not self.keep[site.labels].all():
                self.edits[site.node, site.input].axis_labels[site.axis] = site.labels
        for remap in self.analysis.remaps:
            if not self.keep[remap.labels].all():
                self.edits[remap.node, remap.input].index_labels = remap.labels
        for size in self.analysis.sizes:
            self._update_size(size)
        self._rewrite_constants()
        self._update_shapes()

    def _update_size(self, size: DependentSize) -> None:
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
            self.editor.set_constant(node, size.target, np.asarray(list(counts.values())), "sizes")
            node.attributes.pop("num_outputs", None)
        elif constants.get_const_tensor(node.inputs[size.target]) is not None:
            self.edits[size.node, size.target].size_labels.update(changed)
        else:
            self._override_elements(node, size.target, size.length, {e: counts[e] for e in changed} | fixed)

    def _override_elements(self, node: ir.Node, i: int, length: int, counts: dict[int, int]) -> None:
        """Replace some elements of a vector that is computed at run time by known numbers (a Where)."""
        computed = node.inputs[i]
        assert computed is not None
        dtype = computed.dtype or ir.DataType.INT64
        is_overridden: np.ndarray = np.zeros(length, bool)
        overrides: np.ndarray = np.zeros(length, dtype.numpy())
        for e, count in counts.items():
            is_overridden[e], overrides[e] = True, count
        shape = () if computed.shape is not None and computed.shape.rank() == 0 else (length,)
        is_overridden, overrides = is_overridden.reshape(shape), overrides.reshape(shape)
        condition = self.editor.add_initializer("over", is_overridden)
        numbers, name = self.editor.add_initializer("sizes", overrides), f"{node.outputs[0].name}_sizes"
        chosen = self.editor.add_node(
            "Where", condition, numbers, computed, before=node, name=name, output=name, dtype=dtype, shape=ir.Shape(shape)
        )
        node.replace_input_with(i, chosen)

    def _rewrite_constants(self) -> None:
        readers: dict[ir.Value, dict[tuple[object, ...], list[tuple[int, int]]]] = {}
        for (position, i), edit in self.edits.items():
            value = self.nodes[position].inputs[i]
            assert value is not None
            readers.setdefault(value, {}).setdefault(edit.key(), []).append((position, i))
        for value, groups in readers.items():
            array = constants.get_const_array(value)
            assert array is not None
            all_readers_edited = sum(len(group) for group in groups.values()) == len(value.uses())
            in_place = all_readers_edited and not value.is_graph_output()
            for group in reversed(list(groups.values())):  # the first may take the place of the original, so it is last
                new = self._edit_array(array, self.edits[group[0]])
                if in_place and group is next(iter(groups.values())):
                    overwrite(value, new)
                    continue
                copy = self.editor.add_initializer(f"{value.name}_kept", new)
                for position, i in group:
                    self.nodes[position].replace_input_with(i, copy)

    def _edit_array(self, array: np.ndarray, edit: _ConstantEdit) -> np.ndarray:
        if edit.index_labels is not None:
            keep = self.keep[edit.index_labels]
            array = (np.cumsum(keep) - 1)[array].astype(array.dtype)
        for axis, labels in edit.axis_labels.items():
            array = np.take(array, np.flatnonzero(self.keep[labels]), axis=axis)
        if edit.size_labels:
            array = array.copy()
            for e, labels in edit.size_labels.items():
                array.flat[e] = self.keep[labels].sum()
        return np.ascontiguousarray(array).reshape(array.shape)

    def _update_shapes(self) -> None:
        """Write the exact new sizes, from which shape inference then starts."""
        for node in self.nodes:
            for value in node.outputs:
                labels = self.analysis.tensor_labels.get(value.name or "")
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
