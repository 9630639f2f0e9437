"""Everything that may go from a model, and what a choice of it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.channels.blocks import Block
from onnxslim.channels.rewrite import apply
from onnxslim.channels.units import Analysis
from onnxslim.data.samples import Samples
from onnxslim.prune import layers as linear
from onnxslim.prune.blocks import leave_out
from onnxslim.prune.factor import Factored, split
from onnxslim.prune.lowrank import Form
from onnxslim.prune.score import Curve
from onnxslim.runtime.session import SessionConfig


@dataclass(frozen=True)
class Cut:
    """What goes.

    Attributes:
        units: bool (units of the analysis,).
        blocks: Whole blocks.
        forms: A layer's output (:attr:`Layer.raw`) -> the cheaper form it is put into.
        choice: The arguments of :meth:`Candidates.cut` that mean the same, for a recipe.
    """

    units: np.ndarray
    blocks: tuple[Block, ...] = ()
    forms: Mapping[str, Form] = field(default_factory=dict)
    choice: tuple[list[int], list[int], list[int]] = ([], [], [])


@dataclass(frozen=True)
class Candidates:
    """Everything that may go from one model.

    Attributes:
        model: The model.
        analysis: Its units.
        curves: One for each family.
        blocks: Whole blocks.
        samples: What tells the mean effect of a block, or None.
        config: How the model runs.
        factored: Layers with cheaper forms.
    """

    model: ir.Model
    analysis: Analysis
    curves: Sequence[Curve]
    blocks: Sequence[Block]
    samples: Samples | None
    config: SessionConfig
    factored: Sequence[Factored] = ()

    def cut(self, gone: Sequence[int], dropped: Sequence[int] = (), taken: Sequence[int] = ()) -> Cut:
        """What a choice means.

        Args:
            gone: How many units of each curve go; none is taken that would empty an axis.
            dropped: Blocks, by position.
            taken: For each layer with cheaper forms 0, or one more than the position of the one it takes.
        """
        mask = np.zeros(self.analysis.count, bool)
        for curve, number in zip(self.curves, gone, strict=True):
            mask[curve.family.units[curve.order[:number]]] = True
        forms = {
            one.layer.raw: one.options[which - 1].form
            for one, which in zip(self.factored, taken, strict=False)
            if which
        }
        choice = [int(n) for n in gone], [int(i) for i in dropped], [int(n) for n in taken]
        return Cut(self.analysis.spare(mask), tuple(self.blocks[i] for i in dropped), forms, choice)

    def without(self, cut: Cut) -> ir.Model:
        """The model without what is in ``cut``, layers in their cheaper forms: not repaired, to be counted and timed."""
        result = io.clone(self.model)
        apply(result, self.analysis, cut.units)
        result = leave_out(result, cut.blocks, None, self.config)
        split(result, cut.forms)
        return result

    def to_repair(self, cut: Cut) -> ir.Model:
        """The same with every layer in one piece still, and the mean effect of a block in its place."""
        result = io.clone(self.model)
        apply(result, self.analysis, cut.units)
        return leave_out(result, cut.blocks, self.samples, self.config)

    def formed(self, number: int, which: int, *, apart: bool = False) -> ir.Model:
        """The model with one layer in one of its cheaper forms: in one piece still, or ``apart`` as it will run."""
        one = self.factored[number]
        option = one.options[which]
        result = io.clone(self.model)
        node = list(result.graph)[one.layer.position]
        linear.assign(one.layer, node, option.weight)
        if apart:
            split(result, {one.layer.raw: option.form})
        return result

    def taster(self, number: int, gone: int) -> ir.Model:
        """The model without the first ``gone`` units of one curve, the layers that read them repaired by their H⁻¹."""
        curve = self.curves[number]
        result = io.clone(self.model)
        nodes = list(result.graph)
        known = {layer.position: layer for layer in linear.find(result.graph)}
        mask = self.analysis.spare(curve.family.units[curve.order[:gone]])
        made = {producer.weight.node: producer.weight.labels for producer in self.analysis.producers}
        fresh = []
        for position, weight in curve.weights.get(gone, {}).items():
            place = self.analysis.consumers[position].node
            layer, node = known.get(place), nodes[place]
            if layer is not None and linear.matrix(layer, node).shape == weight.shape:
                bare = layer.biased and linear.bias_of(node) is None
                linear.assign(layer, node, weight)
                if bare and place in made:
                    fresh.append((node, made[place]))
        apply(result, self.analysis, mask)
        for node, labels in fresh:
            # The analysis knows nothing of a bias that the repair has just given the layer.
            bias = linear.bias_of(node)
            if bias is not None:
                linear.put(node, 2, bias[self.analysis.keep(labels, mask)])
        return result
