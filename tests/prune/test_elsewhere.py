"""Effects that workers compute: the very numbers of one process, in the same order."""

from __future__ import annotations

import pytest

from onnxslim.account import Account
from onnxslim.channels.analysis import units
from onnxslim.progress import silent
from onnxslim.prune import elsewhere
from onnxslim.prune.blocks import droppable
from onnxslim.prune.candidates import Candidates
from onnxslim.prune.effect import Outputs
from onnxslim.prune.elsewhere import Spread
from onnxslim.prune.families import families
from onnxslim.prune.plan import measure
from onnxslim.prune.score import curves
from onnxslim.runtime.session import SessionConfig
from onnxslim.workers import Workers, open_workers
from tests.prune import nets

CONFIG = SessionConfig()


@pytest.fixture(scope="module")
def found() -> Candidates:
    model = nets.residual(blocks=3)
    data, analysis = nets.samples(model, 40), units(model)
    lines = curves(model, analysis, families(analysis), data, CONFIG, Account("score"), silent)
    return Candidates(model, analysis, lines, droppable(model, []), data, CONFIG)


@pytest.mark.parametrize("load", [1, 10_000, 64_000_000])
def test_effects_are_bit_for_bit_those_of_one_process(
    found: Candidates, load: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "LOAD", load)
    assert found.samples is not None
    here = measure(found, Outputs(found.model, found.samples, CONFIG), silent)
    spread = measure(found, Spread(found.model, found.samples, CONFIG, Workers(3)), silent)
    assert spread == here
    assert any(effect > 0 for line in here.curves for _, effect in line)


def test_other_processes_compute_the_same(found: Candidates) -> None:
    assert found.samples is not None
    here = measure(found, Outputs(found.model, found.samples, CONFIG), silent)
    with open_workers(None, 2) as workers:
        assert measure(found, Spread(found.model, found.samples, CONFIG, workers), silent) == here
