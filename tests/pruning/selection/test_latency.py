"""Time as a budget. Nothing here asserts how long anything takes; only that what was measured is used right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph import shapes
from onnxslim.pruning.selection import latency
from onnxslim.pruning.selection.latency import LatencyMeter
from onnxslim.runtime.session import SessionConfig
from onnxslim.runtime.timing import Timing
from tests.support import nets


@dataclass
class _Session:
    model: ir.Model
    config: SessionConfig


@pytest.mark.parametrize("jitter", [0.01, 0.2])
def test_a_reading_is_of_new_sessions_and_tells_how_far_its_rounds_lie_apart(
    jitter: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, timed = np.random.default_rng(0), list[_Session]()

    def interleave(sessions: dict[str, _Session], *_: object, **__: object) -> Timing:
        timed.extend(sessions.values())
        rounds = {name: np.exp(jitter * rng.standard_normal(40)) for name in sessions}
        return Timing({name: rows / (2 if name == "now" else 1) for name, rows in rounds.items()}, "cpu", 1)

    monkeypatch.setattr(latency, "open_timed_session", _Session)
    monkeypatch.setattr(latency, "interleave", interleave)
    model = nets.residual(blocks=1)
    meter = LatencyMeter(model, nets.samples(model, 4), SessionConfig())
    readings = [meter.read(model) for _ in range(3)]
    assert len({id(session) for session in timed}) == len(timed) == 7
    for reading in readings:
        assert abs(reading.amount - meter.original_seconds / 2) < 4 * reading.error
        assert jitter / 20 < reading.error / reading.amount < jitter


def test_what_is_timed_knows_the_shapes_that_the_file_will_know() -> None:
    model = nets.residual(blocks=1)
    values = [output for node in model.graph for output in node.outputs if not output.is_graph_output()]
    shapes.infer(model)
    for value in values[1:]:
        value.shape = None
    finished = latency.finish_for_timing(model, shapes.list_known(model))
    inner = {o.name: o.shape for node in finished.graph for o in node.outputs if not o.is_graph_output()}
    assert [name for name, shape in inner.items() if shape is not None] == [values[0].name]
