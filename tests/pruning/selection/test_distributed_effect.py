"""Effects that workers compute: the very numbers of one process, in the same order."""

from __future__ import annotations

import pytest

from onnxslim.activations.run_context import RunContext
from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.core.progress import ignore_progress
from onnxslim.core.workers import Workers, open_workers
from onnxslim.pruning.block_dropping import find_droppable
from onnxslim.pruning.channel_groups import find_channel_groups
from onnxslim.pruning.importance.error_curves import compute_error_curves
from onnxslim.pruning.selection import distributed_effect
from onnxslim.pruning.selection.candidates import Candidates
from onnxslim.pruning.selection.distributed_effect import DistributedComparer
from onnxslim.pruning.selection.effects import measure_effects
from onnxslim.pruning.selection.output_effect import OutputComparer
from onnxslim.runtime.session import SessionConfig
from tests.support import nets

CONFIG = SessionConfig()


@pytest.fixture(scope="module")
def found() -> Candidates:
    model = nets.residual(blocks=3)
    data, analysis = nets.samples(model, 40), analyze_channels(model)
    lines, _ = compute_error_curves(model, RunContext(data, CONFIG), analysis, find_channel_groups(analysis))
    return Candidates(model, analysis, lines, find_droppable(model, []), data, CONFIG)


@pytest.mark.parametrize("load", [1, 10_000, 64_000_000])
def test_effects_are_bit_for_bit_those_of_one_process(found: Candidates, load: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed_effect, "BYTES_PER_WORKER", load)
    assert found.samples is not None
    here = measure_effects(found, OutputComparer(found.model, found.samples, CONFIG), ignore_progress)
    spread = measure_effects(found, DistributedComparer(found.model, found.samples, CONFIG, Workers(3)), ignore_progress)
    assert spread == here
    assert any(effect > 0 for line in here.curves for _, effect in line)


def test_other_processes_compute_the_same(found: Candidates) -> None:
    assert found.samples is not None
    here = measure_effects(found, OutputComparer(found.model, found.samples, CONFIG), ignore_progress)
    with open_workers(None, 2) as workers:
        assert (
            measure_effects(found, DistributedComparer(found.model, found.samples, CONFIG, workers), ignore_progress) == here
        )
