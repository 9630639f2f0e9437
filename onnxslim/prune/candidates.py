"""Everything that may go from a model, and what a choice of it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.channels.blocks import Block
from onnxslim.channels.rewrite import apply
from onnxslim.channels.units import Analysis
from onnxslim.data.samples import Samples
from onnxslim.prune import layers as linear
from onnxslim.prune.blocks import leave_out
from onnxslim.prune.score import Curve
from onnxslim.runtime.session import SessionConfig


@dataclass(frozen=True)
class Cut:
    """What goes.

    Attributes:
        units: bool (units of the analysis,).
        blocks: Whole blocks.
    """

    units: np.ndarray
    blocks: tuple[Block, ...] = ()


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
    """

    model: ir.Model
    analysis: Analysis
    curves: Sequence[Curve]
    blocks: Sequence[Block]
    samples: Samples | None
    config: SessionConfig

    def cut(self, gone: Sequence[int], dropped: Sequence[int]) -> Cut:
        """The first ``gone`` units of each curve, none of which empties an axis, and the blocks ``dropped``."""
        mask = np.zeros(self.analysis.count, bool)
        for curve, number in zip(self.curves, gone, strict=True):
            mask[curve.family.units[curve.order[:number]]] = True
        return Cut(self.analysis.spare(mask), tuple(self.blocks[i] for i in dropped))

    def without(self, cut: Cut, *, means: bool = False) -> ir.Model:
        """The model without what is in ``cut``, not repaired; ``means`` puts the mean effect in place of blocks."""
        result = io.clone(self.model)
        apply(result, self.analysis, cut.units)
        return leave_out(result, cut.blocks, self.samples if means else None, self.config)

    def taster(self, number: int, gone: int) -> ir.Model:
        """The model without the first ``gone`` units of one curve, the layers that read them repaired by their H⁻¹."""
        curve = self.curves[number]
        result = io.clone(self.model)
        nodes = list(result.graph)
        known = {layer.position: layer for layer in linear.find(result.graph)}
        for position, weight in curve.weights.get(gone, {}).items():
            place = self.analysis.consumers[position].node
            layer = known.get(place)
            if layer is not None and linear.matrix(layer, nodes[place]).shape == weight.shape:
                linear.assign(layer, nodes[place], weight)
        apply(result, self.analysis, curve.family.units[curve.order[:gone]])
        return result
