"""Error curves: for every family, in which order its units go and what the layers that read them lose by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.account import Account
from onnxslim.channels.units import Analysis, Consumer
from onnxslim.data.samples import Samples
from onnxslim.graph.constants import constant
from onnxslim.progress import Progress
from onnxslim.prune import layers as linear
from onnxslim.prune.families import Family
from onnxslim.prune.gram import Moments, is_held, positions_each, sample_positions
from onnxslim.prune.layers import Layer
from onnxslim.prune.obs import Quadratic, greedy
from onnxslim.prune.observe import inputs_of, inverse_of
from onnxslim.prune.walk import Walk
from onnxslim.runtime.session import SessionConfig

#: Shares of a family at which the effect on the outputs is measured; the last is everything that may go.
LEVELS = (0.125, 0.25, 0.5, 0.75, 1.0)
#: Columns above which a layer's Gram matrix is built over channels instead (25 088² doubles are 5 GB).
WIDE = 6144


@dataclass(frozen=True)
class Curve:
    """What taking units from one family costs.

    Attributes:
        family: The family.
        order: Its units, by position in the family, in the order they should go.
        error: float64 (stop,): after each, the error of the layers that read them once repaired, each over the
            variance of its output.
        weights: units gone -> {consumer's position in the analysis: its repaired weights (g, m, d + 1)}.
    """

    family: Family
    order: list[int]
    error: np.ndarray
    weights: dict[int, dict[int, np.ndarray]] = field(repr=False)


def levels(stop: int) -> list[int]:
    """Numbers of units at which effects are measured."""
    return sorted({max(1, round(share * stop)) for share in LEVELS}) if stop else []


def curves(
    model: ir.Model,
    analysis: Analysis,
    families: Sequence[Family],
    samples: Samples | None,
    config: SessionConfig,
    account: Account,
    progress: Progress,
    *,
    orders: Mapping[int, Sequence[int]] | None = None,
    seed: int = 0,
) -> list[Curve]:
    """A curve for every family, by Optimal Brain Surgeon on all layers that read it.

    One consumer's Gram matrix is in memory at a time; of its inverse, the rows that a family needs are kept until the
    last consumer of that family is done. Without samples the inputs count as uncorrelated and of equal energy: what a
    unit costs is its share of the squared weights that read it, which plain magnitudes tell.

    Args:
        model: The model that ``analysis`` is of.
        analysis: Its units.
        families: The families to score.
        samples: What the layers read, or None.
        config: How the model runs.
        account: Gets a warning where the data are too few.
        progress: Called after each consumer.
        orders: Position in ``families`` -> the order in which its units go; OBS decides for the others.
        seed: Of the choice of positions.
    """
    views = _views(model, analysis, families)
    if samples is None:
        return [_by_magnitude(family, views, (orders or {}).get(number)) for number, family in enumerate(families)]
    reads: dict[int, list[int]] = {}
    for number, family in enumerate(families):
        for position in family.readers:
            reads.setdefault(position, []).append(number)
    waiting = {number: len(family.readers) for number, family in enumerate(families)}
    terms: dict[int, dict[int, Quadratic]] = {number: {} for number in waiting}
    walk = Walk(model, samples, config)
    found: dict[int, Curve] = {}
    todo = sorted(reads, key=lambda position: analysis.consumers[position].node)
    for done, position in enumerate(todo):
        view = views[position]
        gram, held = view.moments(walk, seed)
        if gram.count < gram.columns:
            account.warnings.append(
                f"{view.consumer.name}: {gram.count} rows for {gram.columns} columns; its least squares is regularised"
            )
        mean = gram.xx / max(gram.count, 1)
        inverse = inverse_of(gram, held)
        for number in reads[position]:
            terms[number][position] = view.term(families[number].readers[position], mean, inverse)
            waiting[number] -= 1
            if not waiting[number]:
                found[number] = _curve(families[number], terms.pop(number), (orders or {}).get(number))
        progress("score", done + 1, len(todo))
    return [found.get(number) or _by_magnitude(family, views, None) for number, family in enumerate(families)]


def _views(model: ir.Model, analysis: Analysis, families: Sequence[Family]) -> dict[int, _View]:
    """Everything that reads a family, by its position in the analysis."""
    nodes = list(model.graph)
    known = {layer.position: layer for layer in linear.find(model.graph)}
    found = {}
    for position in dict.fromkeys(position for family in families for position in family.readers):
        consumer = analysis.consumers[position]
        slots = len(analysis.labels[consumer.labels])
        found[position] = _View(consumer, nodes[consumer.node], known.get(consumer.node), slots)
    return found


def _by_magnitude(family: Family, views: Mapping[int, _View], order: Sequence[int] | None) -> Curve:
    """The curve of inputs that are all alike: the smallest first, nothing to repair. Units that nobody reads are free."""
    share = np.zeros(len(family))
    for position, places in family.readers.items():
        share += views[position].magnitudes(places)
    went = list(np.argsort(share, kind="stable").tolist() if order is None else order)
    return Curve(family, went, np.cumsum(share[went])[:-1], {})


def _curve(family: Family, terms: dict[int, Quadratic], order: Sequence[int] | None) -> Curve:
    weights: dict[int, dict[int, np.ndarray]] = {}
    stop = len(family) - 1

    def visit(gone: int) -> None:
        weights[gone] = {position: term.weight.copy() for position, term in terms.items()}

    went, error = greedy(list(terms.values()), len(family), stop, order=order, marks=levels(stop), visit=visit)
    rest = [unit for unit in range(len(family)) if unit not in set(went)]
    return Curve(family, went + rest, error, weights)


@dataclass(frozen=True)
class _View:
    """A consumer as rows and columns: a layer that least squares can fit, or what stands in for it.

    Everything but a plain layer (LSTM, a grouped ConvTranspose, a product of two activations), and a layer too wide for a
    Gram matrix over all its columns, is seen through its channels alone: the weight's other axes are more rows of W.
    """

    consumer: Consumer
    node: ir.Node
    layer: Layer | None
    slots: int

    @property
    def plain(self) -> bool:
        return self.layer is not None and self.consumer.input == 0 and self.layer.columns <= WIDE

    def magnitudes(self, places: np.ndarray) -> np.ndarray:
        """The share of the squared weights that units at ``places`` (n, k) are read with: float64 (n,)."""
        squared = np.square(self._weight()[:, :, :-1]).sum(axis=(0, 1))
        return np.asarray(squared[self._columns(places)].sum(axis=1) / max(float(squared.sum()), 1e-300))

    def moments(self, walk: Walk, seed: int) -> tuple[Moments, Moments]:
        """Moments of what the consumer reads, and of the samples held back."""
        if self.plain and self.layer is not None:
            return inputs_of(self.layer, self.node, walk, seed)
        weight = self._weight()
        moments, held = (Moments(weight.shape[0], weight.shape[2] - 1) for _ in range(2))
        each = positions_each(moments.columns, walk.samples)
        first = 0
        for indices, found in walk.visit(self.consumer.node, [self.consumer.tensor]):
            x = found[self.consumer.tensor]
            rows = self._channels(x, each, first, seed)
            unseen = is_held(indices, rows.shape[1])
            moments.add(rows[:, ~unseen])
            held.add(rows[:, unseen])
            first += len(x)
        return moments, held

    def term(self, places: np.ndarray, mean: np.ndarray, inverse: np.ndarray) -> Quadratic:
        """The layer's error as units at ``places`` (n, k) go, over the variance of the layer's output."""
        weight, columns = self._weight(), self._columns(places)
        rows = np.unique(columns)
        covariance = mean - mean[:, :, -1:] * mean[:, -1:, :]
        variance = float(np.einsum("gmd,gmd->", weight @ covariance, weight))
        return Quadratic(weight, inverse[:, rows], rows, columns, 2.0 / max(variance, 1e-30))

    def _columns(self, places: np.ndarray) -> np.ndarray:
        """The columns of the weight that units at ``places`` (n, k) own: int64 (n, k · spread)."""
        spread = self.layer.spread if self.plain and self.layer is not None else 1
        return np.asarray((places[:, :, None] * spread + np.arange(spread)).reshape(len(places), -1))

    def _weight(self) -> np.ndarray:
        if self.plain and self.layer is not None:
            return linear.matrix(self.layer, self.node)
        site = self.consumer.weight
        array = constant(self.node.inputs[site.input]) if site is not None else None
        if site is None or array is None:
            # A product of two activations: what is lost is what the other channels cannot tell about this one.
            return np.eye(self.slots, self.slots + 1)[None]
        flat = np.moveaxis(array, site.axis, -1).reshape(-1, array.shape[site.axis])
        return np.concatenate([flat, np.zeros((len(flat), 1))], axis=1, dtype=np.float64)[None]

    def _channels(self, x: np.ndarray, each: int, first: int, seed: int) -> np.ndarray:
        flat = np.moveaxis(x, self.consumer.axis, -1)
        flat = flat.reshape(len(x) if self.consumer.axis % x.ndim else 1, -1, flat.shape[-1])
        at = sample_positions(flat.shape[1], each, first, len(flat), [seed, self.consumer.node])
        return np.take_along_axis(flat, at[..., None], axis=1).reshape(1, -1, flat.shape[-1])
