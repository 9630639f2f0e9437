"""Everything that may go from a model, and what a choice of it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.channels.analysis.units import Analysis
from onnxslim.channels.removable_blocks import DroppableBlock
from onnxslim.channels.rewriter import delete_units
from onnxslim.data.samples import Samples
from onnxslim.graph.layers import LinearLayer, find_linear_layers
from onnxslim.model_io import model_file
from onnxslim.pruning.block_dropping import drop_blocks
from onnxslim.pruning.importance.error_curves import ErrorCurve
from onnxslim.pruning.low_rank.factored_layers import FactorizableLayer, split_layers
from onnxslim.pruning.low_rank.factorization import Factorization
from onnxslim.runtime.session import SessionConfig


@dataclass(frozen=True)
class PruningDecision:
    """A pruning decision: what goes from a model.

    Attributes:
        units: bool (units of the analysis,).
        blocks: Whole blocks.
        factorizations: A layer's output (:attr:`Layer.raw`) -> the cheaper form it is put into.
        recipe_entry: The arguments of :meth:`Candidates.cut` that mean the same, for a recipe.
    """

    units: np.ndarray
    blocks: tuple[DroppableBlock, ...] = ()
    factorizations: Mapping[str, Factorization] = field(default_factory=dict)
    recipe_entry: tuple[list[int], list[int], list[int]] = ([], [], [])


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
        factorizable: Layers with cheaper forms.
    """

    model: ir.Model
    analysis: Analysis
    curves: Sequence[ErrorCurve]
    blocks: Sequence[DroppableBlock]
    samples: Samples | None
    config: SessionConfig
    factorizable: Sequence[FactorizableLayer] = ()

    def make_decision(
        self, removed_counts: Sequence[int], dropped_blocks: Sequence[int] = (), chosen_factorizations: Sequence[int] = ()
    ) -> PruningDecision:
        """The decision that these choices stand for.

        Args:
            removed_counts: How many units of each curve go; none is taken that would empty an axis.
            dropped_blocks: Blocks, by position.
            chosen_factorizations: For each layer with cheaper forms 0, or one more than the position of the one it takes.
        """
        mask = np.zeros(self.analysis.count, bool)
        for curve, number in zip(self.curves, removed_counts, strict=True):
            mask[curve.group.units[curve.order[:number]]] = True
        factorizations = {
            candidate.layer.node_output: candidate.options[variant - 1].factorization
            for candidate, variant in zip(self.factorizable, chosen_factorizations, strict=False)
            if variant
        }
        choice = [int(n) for n in removed_counts], [int(i) for i in dropped_blocks], [int(n) for n in chosen_factorizations]
        return PruningDecision(
            self.analysis.spare(mask), tuple(self.blocks[i] for i in dropped_blocks), factorizations, choice
        )

    def build_for_measurement(self, decision: PruningDecision) -> ir.Model:
        """The model without what is in ``make_decision``, layers in their cheaper forms: not repaired, to be counted
        and timed.
        """
        result = model_file.clone(self.model)
        delete_units(result, self.analysis, decision.units)
        result = drop_blocks(result, decision.blocks, None, self.config)
        split_layers(result, decision.factorizations)
        return result

    def build_for_repair(self, decision: PruningDecision) -> ir.Model:
        """The pruned model as the repair needs it: layers still in one piece, blocks replaced by their mean effect."""
        result = model_file.clone(self.model)
        delete_units(result, self.analysis, decision.units)
        return drop_blocks(result, decision.blocks, self.samples, self.config)

    def build_factorized(self, number: int, variant: int, *, as_split: bool = False) -> ir.Model:
        """The model with one layer in one of its cheaper forms: in one piece still, or ``as_split`` as it will run."""
        candidate = self.factorizable[number]
        option = candidate.options[variant]
        result = model_file.clone(self.model)
        LinearLayer(list(result.graph)[candidate.position]).assign(option.weight)
        if as_split:
            split_layers(result, {candidate.layer.node_output: option.factorization})
        return result

    def build_trial(self, number: int, removed_count: int) -> ir.Model:
        """The model without the first ``removed_count`` units of one curve, the layers that read them repaired by their
        H⁻¹.
        """
        curve = self.curves[number]
        result = model_file.clone(self.model)
        layer_at = find_linear_layers(result.graph)
        mask = self.analysis.spare(curve.group.units[curve.order[:removed_count]])
        producer_labels = {producer.weight.node: producer.weight.labels for producer in self.analysis.producers}
        new_biases = []
        for position, weight in curve.weights.get(removed_count, {}).items():
            node_position = self.analysis.consumers[position].node
            layer = layer_at.get(node_position)
            if layer is not None and layer.matrix().shape == weight.shape:
                lacks_bias = layer.has_bias and layer.bias is None
                layer.assign(weight)
                if lacks_bias and node_position in producer_labels:
                    new_biases.append((layer, producer_labels[node_position]))
        delete_units(result, self.analysis, mask)
        for layer, labels in new_biases:
            # The analysis knows nothing of a bias that the repair has just given the layer.
            if layer.bias is not None:
                layer.assign_bias(layer.bias[self.analysis.kept_slots(labels, mask)])
        return result
