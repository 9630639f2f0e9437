"""How many channels may go from each family so that every cut saves time, and how much: measured, many families in a run.

Families that share no layer are cut in one model, and the runtime's profile tells which saved what. So the number of runs
follows the graph's shape (two to four models a width) and not the number of its layers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.activations.run_context import RunContext
from onnxslim.core.deadline import Pacer
from onnxslim.data.split import draw_timed_runs
from onnxslim.graph import shapes
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.selection.candidates import Candidates
from onnxslim.pruning.selection.knapsack import Savings, list_amounts
from onnxslim.pruning.selection.latency import CHANNEL_MULTIPLE, finish_for_timing
from onnxslim.pruning.selection.layer_times import LayerTimes
from onnxslim.pruning.selection.pacing import pace_timing
from onnxslim.runtime.node_profile import measure_node_times
from onnxslim.runtime.session import open_timed_session
from onnxslim.runtime.timing import interleave

#: At most so many widths of one family are timed; where it may have more, times between them are interpolated.
MAX_WIDTHS = 6
#: Multiples that kernels may be built for, from the finest; the last is the widest block there is.
_MULTIPLES = (4, 8, 16)
#: A multiple is fine enough when a channel saves at least this share of what it does where whole blocks go.
_MIN_SHARE_OF_BLOCK = 0.5
#: What is saved below this share of a family's time is noise.
_MIN_SAVED_SHARE = 0.01
#: One model is timed over at most so many runs, and about so many seconds.
_MAX_RUNS, _MIN_RUNS, _SECONDS_PER_MODEL = 20, 5, 0.7
#: Layers that were not cut show by how much the machine's pace has changed, where they take this share of the time.
_MIN_PACE_SHARE, _MAX_PACE = 0.2, 2.0


@dataclass(frozen=True)
class Widths:
    """How families may be cut.

    Attributes:
        amounts: For each family, how many units may go: int64 (c,), from 0.
        multiple: What kept channels are a multiple of, as a rule.
        seconds: What candidates save in time, as far as they were timed; None where nothing was.
        unmeasured: Families that there was no time for: they may lose whole blocks of channels, and no time is known.
    """

    amounts: list[np.ndarray]
    multiple: int
    seconds: Savings | None = None
    unmeasured: int = 0


def plan_widths(candidates: Candidates, options: PruneOptions, context: RunContext, cache: dict[str, Widths]) -> Widths:
    """How the families of ``candidates`` may be cut by ``options``.

    Args:
        candidates: What may go.
        options: Of the step; times are measured where they read the clock.
        context: What is run, and how. Without samples nothing is timed.
        cache: What was measured of these candidates before; it is added to.
    """
    if not options.reads_clock or context.samples is None:
        multiple = options.round_to if isinstance(options.round_to, int) else CHANNEL_MULTIPLE
        return Widths([list_amounts(len(curve.group), multiple) for curve in candidates.curves], multiple)
    key = str(options.round_to)
    if key not in cache:
        timer = _WidthTimer(candidates, context, pace_timing(context))
        cache[key] = timer.measure(options.round_to if isinstance(options.round_to, int) else None)
    return cache[key]


class _WidthTimer:
    """Times ``candidates`` on the first sample while ``pacer`` says that there is time."""

    def __init__(self, candidates: Candidates, context: RunContext, pacer: Pacer) -> None:
        self._candidates, self._config, self._pacer = candidates, context.config, pacer
        self._known = shapes.list_known(candidates.model)
        samples = context.require_samples("prune")
        self._feeds = draw_timed_runs(samples, 1, self._config.batch_size)
        self._sizes = [len(curve.group) for curve in candidates.curves]
        started = time.perf_counter()
        measure_node_times(candidates.model, self._feeds, self._config, runs=3, warmup=1)
        run_seconds = (time.perf_counter() - started) / 4
        self._runs = int(np.clip(_SECONDS_PER_MODEL / max(run_seconds, 1e-6), _MIN_RUNS, _MAX_RUNS))
        self._dense = self._time(candidates.model)

    def measure(self, round_to: int | None) -> Widths:
        """Everything there is time for; ``round_to`` None: by the kernels' width, and only what saves time."""
        multiple = round_to or self._measure_multiple()
        # small families are timed at every width they may have, so a multiple that is too fine does no harm
        multiples = [
            min(multiple, CHANNEL_MULTIPLE) if round_to is None and size <= MAX_WIDTHS * CHANNEL_MULTIPLE else multiple
            for size in self._sizes
        ]
        allowed = [list_amounts(size, step) for size, step in zip(self._sizes, multiples, strict=True)]
        saved = self._measure_families([_thin_out(amounts) for amounts in allowed])
        curves, paying = [], []
        for number, amounts in enumerate(allowed):
            tolerance = _MIN_SAVED_SHARE * self._family_seconds(self._dense, number)
            known = _keep_paying(saved[number], tolerance) if round_to is None else saved[number]
            timed = sorted(saved[number])
            if len(timed) > 1:
                following = [timed[min(int(np.searchsorted(timed, amount)), len(timed) - 1)] for amount in amounts]
                amounts = amounts[[timed_amount in known for timed_amount in following]]
            paying.append(amounts)
            bounded = amounts[amounts <= timed[-1]]
            curves.append((bounded, np.interp(bounded, list(known), list(known.values()))))
        seconds = Savings(curves, self._block_seconds(), self._measure_factorizations())
        return Widths(paying, multiple, seconds, sum(len(s) == 1 < len(a) for s, a in zip(saved, allowed, strict=True)))

    def _measure_multiple(self) -> int:
        """The smallest multiple of channels whose removal, from all large families at once, saves time for each of them."""
        block = _MULTIPLES[-1]
        models = {}
        for taken in (0, *_MULTIPLES):
            cut = {i: size % block + taken for i, size in enumerate(self._sizes) if size - size % block >= 2 * block}
            if not cut:
                return CHANNEL_MULTIPLE
            models[str(taken)] = open_timed_session(finish_for_timing(self._cut(cut), self._known), self._config)
        timing = interleave(models, self._feeds, rounds=30, seconds=4.0)
        whole = timing.median("0")
        saved = {taken: whole * (1 - 1 / timing.ratio("0", str(taken))) for taken in _MULTIPLES}
        for taken in _MULTIPLES:
            wanted = max(_MIN_SHARE_OF_BLOCK * taken / block * saved[block], _MIN_SAVED_SHARE * whole)
            if saved[taken] >= wanted:
                return taken
        return block

    def _measure_families(self, widths: Sequence[np.ndarray]) -> list[dict[int, float]]:
        """For each family, how many units go -> seconds saved, rising, of those of ``widths`` that there was time for."""
        saved: list[dict[int, float]] = [{0: 0.0} for _ in widths]
        orders = [_order_widths(amounts[1:].tolist()) for amounts in widths]
        for turn in range(max(map(len, orders), default=0)):
            for colour in self._separate_families():
                cut = {number: orders[number][turn] for number in colour if turn < len(orders[number])}
                if not cut or not self._pacer.fits():
                    continue
                for number, seconds in self._share_savings(self._time(self._cut(cut)), list(cut)).items():
                    saved[number][cut[number]] = seconds
        return [dict(sorted(family.items())) for family in saved]

    def _separate_families(self) -> list[list[int]]:
        """Families in lists; no two of one list have a layer in common."""
        colours: list[tuple[set[str], list[int]]] = []
        for number, curve in enumerate(self._candidates.curves):
            nodes = set(curve.group.nodes)
            taken, members = next((colour for colour in colours if not colour[0] & nodes), (set(), []))
            if not members:
                colours.append((taken, members))
            taken |= nodes
            members.append(number)
        return [members for _, members in colours]

    def _share_savings(self, narrow: LayerTimes, families: Sequence[int]) -> dict[int, float]:
        """What each of ``families``, all cut in one model, saved: its layers' time, and its part of what is no layer's."""
        curves = self._candidates.curves
        pace = self._compute_pace(narrow, {node for number in families for node in curves[number].group.nodes})
        shares = np.array([self._family_seconds(self._dense, number) for number in families])
        shares = shares / max(float(shares.sum()), 1e-30)
        others = self._dense.others - pace * narrow.others
        return {
            number: self._family_seconds(self._dense, number) - pace * self._family_seconds(narrow, number) + share * others
            for number, share in zip(families, shares.tolist(), strict=True)
        }

    def _family_seconds(self, times: LayerTimes, number: int) -> float:
        return sum(times.layers.get(node, 0.0) for node in self._candidates.curves[number].group.nodes)

    def _compute_pace(self, narrow: LayerTimes, cut_nodes: set[str]) -> float:
        """How many times faster the machine was for the dense model than for this one, by the layers both have."""
        same = [name for name in self._dense.layers if name not in cut_nodes and name in narrow.layers]
        dense, now = (sum(times.layers[name] for name in same) for times in (self._dense, narrow))
        if dense < _MIN_PACE_SHARE * sum(self._dense.layers.values()) or not now:
            return 1.0
        return float(np.clip(dense / now, 1 / _MAX_PACE, _MAX_PACE))

    def _block_seconds(self) -> list[float]:
        return [sum(self._dense.layers.get(node, 0.0) for node in block.nodes) for block in self._candidates.blocks]

    def _measure_factorizations(self) -> list[list[float]]:
        """What each cheaper form of each layer saves; nothing where no time was left. All change at once."""
        layers = self._candidates.factorizable
        saved = [[0.0] * len(layer.options) for layer in layers]
        for variant in range(max((len(layer.options) for layer in layers), default=0)):
            if not self._pacer.fits():
                break
            chosen = [variant + 1 if variant < len(layer.options) else 0 for layer in layers]
            decision = self._candidates.make_decision([0] * len(self._sizes), (), chosen)
            split = self._time(self._candidates.build_for_measurement(decision))
            names = [[layer.node, f"{layer.node}_low"] for layer in layers]
            pace = self._compute_pace(split, {name for pair in names for name in pair})
            for number in range(len(layers)):
                if chosen[number]:
                    dense, now = (sum(t.layers.get(n, 0.0) for n in names[number]) for t in (self._dense, split))
                    saved[number][variant] = dense - pace * now
        return saved

    def _cut(self, removed: Mapping[int, int]) -> ir.Model:
        decision = self._candidates.make_decision([removed.get(number, 0) for number in range(len(self._sizes))])
        return self._candidates.build_for_measurement(decision)

    def _time(self, model: ir.Model) -> LayerTimes:
        model = finish_for_timing(model, self._known)
        return LayerTimes(model, measure_node_times(model, self._feeds, self._config, runs=self._runs))


def _thin_out(amounts: np.ndarray) -> np.ndarray:
    """At most MAX_WIDTHS of ``amounts`` beside the first, evenly."""
    return np.asarray(amounts[np.unique(np.linspace(0, len(amounts) - 1, MAX_WIDTHS + 1).round().astype(np.int64))])


def _order_widths(amounts: Sequence[int]) -> list[int]:
    """``amounts`` so that the first few tell most: the middle one first, then always the one farthest from those before."""
    left = list(amounts)
    order = [left.pop(len(left) // 2)] if left else []
    while left:
        order.append(left.pop(max(range(len(left)), key=lambda i: (min(abs(left[i] - done) for done in order), left[i]))))
    return order


def _keep_paying(saved: Mapping[int, float], tolerance: float) -> dict[int, float]:
    """Those cuts that save more, by ``tolerance``, than every smaller one."""
    kept = {0: 0.0}
    for amount, seconds in saved.items():
        if seconds > max(kept.values()) + tolerance:
            kept[amount] = seconds
    return kept
