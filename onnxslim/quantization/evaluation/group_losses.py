"""What each fusion group in int8 costs the outputs: runs of groups quantised alone, the costliest halved again and again.

Errors of independent roundings add up as long as they are small, so that what a placement loses is the sum over its groups.
Few groups carry most of it: a run that loses next to nothing as a whole need not be looked into.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.graph.cost import compute_cost
from onnxslim.quantization.calibration.feeds import CalibrationFeeds

#: Runs of groups that are quantised alone at most; each is one short run of a simulated model.
MAX_TRIALS = 24
#: What counts for an output that is not finite.
_MAX_LOSS = 1e6
#: Samples that losses are measured on, at least and at most: between them what this many multiply-accumulates pay for.
_MIN_SAMPLES, _MAX_SAMPLES, _MAX_MACS = 4, 64, 2e9


def select_loss_feeds(model: ir.Model, feeds: CalibrationFeeds) -> list[Mapping[str, np.ndarray]]:
    """The samples that losses are measured on: from the first to the last, for steps of a sequence are alike in a row."""
    affordable = _MAX_MACS / max(compute_cost(model).macs, 1)
    return feeds.spread(int(min(max(affordable, _MIN_SAMPLES), _MAX_SAMPLES)))


def measure_group_losses(
    names: Sequence[str],
    measure: Callable[[Sequence[str]], float],
    fits: Callable[[], bool] = lambda: True,
    *,
    max_trials: int = MAX_TRIALS,
) -> dict[str, float]:
    """The loss of each group, by its name; groups of a run that was not halved share what it loses.

    Args:
        names: In graph order.
        measure: What the outputs lose with a run of them in int8 and everything else in float.
        fits: Asked before each run whether there is time for it.
        max_trials: How often ``measure`` may be asked.
    """

    def measure_run(start: int, stop: int) -> float:
        loss = measure(names[start:stop])
        # two digits: the last bits are the machine's own, and a placement must not hang on them
        return float(f"{loss:.2g}") if math.isfinite(loss) else _MAX_LOSS

    if not names:
        return {}
    # the largest loss first; the start breaks ties by graph order
    pending = [(-measure_run(0, len(names)), 0, len(names))]
    done: list[tuple[float, int, int]] = []
    trials_left = max_trials - 1
    while pending:
        loss, start, stop = heapq.heappop(pending)
        if stop - start == 1 or trials_left < 2 or not fits():
            done.append((loss, start, stop))
            continue
        middle = (start + stop) // 2
        for first, last in ((start, middle), (middle, stop)):
            heapq.heappush(pending, (-measure_run(first, last), first, last))
        trials_left -= 2
    return {name: -loss / (stop - start) for loss, start, stop in sorted(done) for name in names[start:stop]}
