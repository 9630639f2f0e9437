"""What pruning makes of a small network, and how far off it is."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.step_report import StepReport
from onnxslim.graph.cost import compute_cost
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.selection.latency import LatencyMeter
from onnxslim.pruning.selection.readings import Reading
from onnxslim.pruning.step import prune
from onnxslim.runtime.session import Session
from tests.support import nets

Made = tuple[ir.Model, StepReport]


#: What makes a budget of a count, met by cuts of any width: no clock has a say.
BY_COUNT = {"of": "params", "round_to": 1}


def run_prune(model: ir.Model, n: int = 60, **options: object) -> Made:
    options = BY_COUNT | options
    return prune(model, nets.samples(model, n) if n else None, PruneOptions(**options))  # type: ignore[arg-type]


def time_by_macs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let models take a second for each of their multiplications, wherever a budget of time is met."""

    def read(_: LatencyMeter, model: ir.Model) -> Reading:
        return Reading(float(compute_cost(model).macs))

    monkeypatch.setattr(LatencyMeter, "read", read)
    monkeypatch.setattr(LatencyMeter, "original_seconds", property(lambda self: read(self, self.original).amount))


def error(model: ir.Model, other: ir.Model) -> float:
    x = next(iter(nets.samples(model, 64, 99).batches(64)))["x"]
    a, b = (next(iter(Session(m).run({"x": x}).values())) for m in (model, other))
    return float(np.square(a - b).sum() / np.square(a).sum())
