"""Error curves: for every family, in which order its units go and what the layers that read them lose by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.activations.read_places import expand_places
from onnxslim.activations.run_context import RunContext
from onnxslim.activations.segment_executor import SegmentExecutor
from onnxslim.channels.analysis.units import Analysis, Consumer
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.layers import LinearLayer, find_linear_layers
from onnxslim.pruning.channel_groups import ChannelGroup
from onnxslim.pruning.statistics.layer_moments import collect_moments, invert_moments
from onnxslim.pruning.statistics.obs import Quadratic, delete_greedily
from onnxslim.pruning.statistics.second_moments import SecondMoments, holdout_mask, positions_per_sample, sample_positions
from onnxslim.runtime.memory import release_freed_memory

#: Shares of a family at which the effect on the outputs is measured; the last is everything that may go.
EFFECT_LEVELS = (0.125, 0.25, 0.5, 0.75, 1.0)
#: Columns above which a layer's Gram matrix is built over channels instead (25 088² doubles are 5 GB).
MAX_GRAM_COLUMNS = 6144


@dataclass(frozen=True)
class ErrorCurve:
    """What taking units from one family costs.

    Attributes:
        group: The family.
        order: Its units, by position in the family, in the order they should go.
        error: float64 (stop,): after each, the error of the layers that read them once repaired, each over the
            variance of its output.
        weights: units gone -> {consumer's position in the analysis: its repaired weights (g, m, d + 1)}.
    """

    group: ChannelGroup
    order: list[int]
    error: np.ndarray
    weights: dict[int, dict[int, np.ndarray]] = field(repr=False)


def choose_levels(stop: int) -> list[int]:
    """Numbers of units at which effects are measured."""
    return sorted({max(1, round(share * stop)) for share in EFFECT_LEVELS}) if stop else []


def compute_error_curves(
    model: ir.Model,
    context: RunContext,
    analysis: Analysis,
    groups: Sequence[ChannelGroup],
    *,
    orders: Mapping[int, Sequence[int]] | None = None,
    seed: int = 0,
) -> tuple[list[ErrorCurve], list[str]]:
    """A curve for every family, by Optimal Brain Surgeon on all layers that read it; and where the data are too few.

    One consumer's Gram matrix is in memory at a time; of its inverse, the rows that a family needs are kept until the
    last consumer of that family is done. Without samples the inputs count as uncorrelated and of equal energy: what a
    unit costs is its share of the squared weights that read it, which plain magnitudes tell.

    Args:
        model: The model that ``analysis`` is of.
        context: How the model runs, and on what, if anything.
        analysis: Its units.
        groups: The families to score.
        orders: Position in ``groups`` -> the order in which its units go; OBS decides for the others.
        seed: Of the choice of positions.

    Raises:
        TimeLimitError: Not all could be scored before the deadline: errors of some are worth nothing.
    """
    consumer_views, orders = _consumer_views(model, analysis, groups), orders or {}
    if context.samples is None:
        return [_curve_by_magnitude(group, consumer_views, orders.get(i)) for i, group in enumerate(groups)], []
    warnings = []
    groups_by_reader: dict[int, list[int]] = {}
    for number, group in enumerate(groups):
        for position in group.readers:
            groups_by_reader.setdefault(position, []).append(number)
    pending_readers = {number: len(group.readers) for number, group in enumerate(groups)}
    quadratics: dict[int, dict[int, Quadratic]] = {number: {} for number in pending_readers}
    executor = SegmentExecutor(model, context.samples, context.config)
    finished: dict[int, ErrorCurve] = {}
    reader_positions = sorted(groups_by_reader, key=lambda position: analysis.consumers[position].node)
    pacer = context.pace()
    for done, position in enumerate(reader_positions):
        pacer.require("score")
        view = consumer_views[position]
        gram, held_out = view.moments(executor, seed)
        if gram.count < gram.columns:
            warnings.append(
                f"{view.consumer.name}: {gram.count} rows for {gram.columns} columns; its least squares is regularised"
            )
        mean, held_mean = gram.mean_xx, held_out.mean_xx if held_out.count else None
        del gram, held_out
        inverse = invert_moments(mean, held_mean)
        for number in groups_by_reader[position]:
            quadratics[number][position] = view.build_quadratic(groups[number].readers[position], mean, inverse)
            pending_readers[number] -= 1
            if not pending_readers[number]:
                finished[number] = _curve_by_obs(groups[number], quadratics.pop(number), orders.get(number))
        release_freed_memory()
        context.progress("score", done + 1, len(reader_positions))
    return [finished.get(i) or _curve_by_magnitude(g, consumer_views, None) for i, g in enumerate(groups)], warnings


def _consumer_views(model: ir.Model, analysis: Analysis, groups: Sequence[ChannelGroup]) -> dict[int, _ConsumerView]:
    """Everything that reads a family, by its position in the analysis."""
    nodes = list(model.graph)
    layer_at = find_linear_layers(model.graph)
    views = {}
    for position in dict.fromkeys(position for group in groups for position in group.readers):
        consumer = analysis.consumers[position]
        slots = len(analysis.labels[consumer.labels])
        views[position] = _ConsumerView(consumer, nodes[consumer.node], layer_at.get(consumer.node), slots)
    return views


def _curve_by_magnitude(group: ChannelGroup, views: Mapping[int, _ConsumerView], order: Sequence[int] | None) -> ErrorCurve:
    """The curve of inputs that are all alike: the smallest first, nothing to repair. Units that nobody reads are free."""
    weight_share = np.zeros(len(group))
    for position, slots in group.readers.items():
        weight_share += views[position].weight_shares(slots)
    removal_order = list(np.argsort(weight_share, kind="stable").tolist() if order is None else order)
    return ErrorCurve(group, removal_order, np.cumsum(weight_share[removal_order])[:-1], {})


def _curve_by_obs(group: ChannelGroup, quadratics: dict[int, Quadratic], order: Sequence[int] | None) -> ErrorCurve:
    repaired_weights: dict[int, dict[int, np.ndarray]] = {}
    stop = len(group) - 1

    def visit(gone: int) -> None:
        repaired_weights[gone] = {position: term.weight.astype(np.float32) for position, term in quadratics.items()}

    removed, error = delete_greedily(
        list(quadratics.values()), len(group), stop, order=order, pauses_at=choose_levels(stop), visit=visit
    )
    remaining = [unit for unit in range(len(group)) if unit not in set(removed)]
    return ErrorCurve(group, removed + remaining, error, repaired_weights)


@dataclass(frozen=True)
class _ConsumerView:
    """A consumer as rows and columns: a layer that least squares can fit, or what stands in for it.

    Everything but a plain layer (LSTM, a grouped ConvTranspose, a product of two activations), and a layer too wide for a
    Gram matrix over all its columns, is seen through its channels alone: the weight's other axes are more rows of W.
    """

    consumer: Consumer
    node: ir.Node
    layer: LinearLayer | None
    slots: int

    @property
    def is_plain(self) -> bool:
        return self.layer is not None and self.consumer.input == 0 and self.layer.columns <= MAX_GRAM_COLUMNS

    def weight_shares(self, unit_slots: np.ndarray) -> np.ndarray:
        """The share of the squared weights that units at ``unit_slots`` (n, k) are read with: float64 (n,)."""
        squared = np.square(self._weight()[:, :, :-1]).sum(axis=(0, 1))
        return np.asarray(squared[self._columns(unit_slots)].sum(axis=1) / max(float(squared.sum()), 1e-300))

    def moments(self, executor: SegmentExecutor, seed: int) -> tuple[SecondMoments, SecondMoments]:
        """Moments of what the consumer reads, and of the samples held back."""
        if self.is_plain and self.layer is not None:
            return collect_moments(self.layer, self.consumer.node, executor, seed)
        weight = self._weight()
        moments, held_out = (SecondMoments(weight.shape[0], weight.shape[2] - 1) for _ in range(2))
        per_sample = positions_per_sample(moments.columns, executor.sample_count)
        first_sample = 0
        for indices, tensors in executor.run_segment(self.consumer.node, [self.consumer.tensor]):
            x = tensors[self.consumer.tensor]
            rows = self._channel_rows(x, per_sample, first_sample, seed, executor.find_read(indices))
            held_mask = holdout_mask(indices, rows.shape[1])
            moments.add(rows[:, ~held_mask])
            held_out.add(rows[:, held_mask])
            first_sample += len(x)
        return moments, held_out

    def build_quadratic(self, unit_slots: np.ndarray, mean: np.ndarray, inverse: np.ndarray) -> Quadratic:
        """The layer's error as units at ``unit_slots`` (n, k) go, over the variance of the layer's output."""
        weight, columns = self._weight(), self._columns(unit_slots)
        rows = np.unique(columns)
        known = np.where(
            np.isfinite(weight), weight, 0.0
        )  # an infinite bias switches an output off; biases have no variance
        variance = float(np.einsum("gmd,gmd->", known @ mean, known) - np.square(known @ mean[:, :, -1:]).sum())
        return Quadratic(weight, inverse[:, rows], rows, columns, 2.0 / max(variance, 1e-30))

    def _columns(self, unit_slots: np.ndarray) -> np.ndarray:
        """The columns of the weight that units at ``unit_slots`` (n, k) own: int64 (n, k · spread)."""
        spread = self.layer.kernel_size if self.is_plain and self.layer is not None else 1
        return np.asarray((unit_slots[:, :, None] * spread + np.arange(spread)).reshape(len(unit_slots), -1))

    def _weight(self) -> np.ndarray:
        if self.is_plain and self.layer is not None:
            return self.layer.matrix()
        site = self.consumer.weight
        array = get_const_array(self.node.inputs[site.input]) if site is not None else None
        if site is None or array is None:
            # A product of two activations: what is lost is what the other channels cannot tell about this one.
            return np.eye(self.slots, self.slots + 1)[None]
        flat = np.moveaxis(array, site.axis, -1).reshape(-1, array.shape[site.axis])
        return np.concatenate([flat, np.zeros((len(flat), 1))], axis=1, dtype=np.float64)[None]

    def _channel_rows(
        self, x: np.ndarray, per_sample: int, first_sample: int, seed: int, read: np.ndarray | None
    ) -> np.ndarray:
        moved = np.moveaxis(x, self.consumer.axis, -1)
        flat = moved.reshape(len(x) if self.consumer.axis % x.ndim else 1, -1, moved.shape[-1])
        is_read, rng_seed = expand_places(read, moved.shape), [seed, self.consumer.node]
        sampled_positions = sample_positions(flat.shape[1], per_sample, first_sample, len(flat), rng_seed, read=is_read)
        rows = np.take_along_axis(flat, sampled_positions[..., None], axis=1)
        if is_read is not None:
            rows[~np.take_along_axis(is_read, sampled_positions, axis=1)] = np.nan
        return rows.reshape(1, -1, flat.shape[-1])
