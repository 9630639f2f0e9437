"""Widths by what they save, where every time is made up: a layer takes what its shapes say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.run_context import RunContext
from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.core.deadline import Pacer
from onnxslim.graph.layers import find_linear_layers
from onnxslim.pruning.block_dropping import find_droppable
from onnxslim.pruning.channel_groups import find_channel_groups
from onnxslim.pruning.importance.error_curves import compute_error_curves
from onnxslim.pruning.low_rank.factored_layers import find_factorizable
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.selection import widths
from onnxslim.pruning.selection.candidates import Candidates
from onnxslim.pruning.selection.widths import Widths, plan_widths
from onnxslim.runtime.node_profile import NodeTime
from onnxslim.runtime.session import SessionConfig
from onnxslim.runtime.timing import Timing
from tests.support import nets

CONFIG = SessionConfig()
Channels = Callable[[int], float]


def in_blocks_of(block: int) -> Channels:
    """Kernels that pad channels to whole blocks."""
    return lambda channels: float(-(-channels // block) * block)


def take_up(model: ir.Model, block: int) -> dict[str, float]:
    """Seconds of each layer of ``model``."""
    padded = in_blocks_of(block)
    shapes = {str(layer.node.name): layer.matrix().shape for layer in find_linear_layers(model.graph).values()}
    return {name: 1e-6 * padded(shape[-2]) * padded(shape[-1] - 1) for name, shape in shapes.items()}


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[ir.Model]]:
    """Let a machine's kernels have blocks of so many channels; the models that are profiled on it."""

    def make(block: int) -> list[ir.Model]:
        profiled: list[ir.Model] = []

        def profile(model: ir.Model, *_: object, **__: object) -> dict[str, NodeTime]:
            profiled.append(model)
            return {name: NodeTime(name, "", "cpu", seconds) for name, seconds in take_up(model, block).items()}

        class Model:
            def __init__(self, model: ir.Model, _: object) -> None:
                self.seconds = sum(take_up(model, block).values())

        def interleave(models: dict[str, Model], *_: object, **__: object) -> Timing:
            return Timing({name: np.full(9, model.seconds) for name, model in models.items()}, "cpu", 1)

        monkeypatch.setattr(widths, "measure_node_times", profile)
        monkeypatch.setattr(widths, "open_timed_session", Model)
        monkeypatch.setattr(widths, "interleave", interleave)
        return profiled

    return make


def list_candidates(model: ir.Model, *, low_rank: bool = False) -> tuple[Candidates, RunContext]:
    context, analysis = RunContext(nets.samples(model, 20), CONFIG), analyze_channels(model)
    curves, _ = compute_error_curves(model, context, analysis, find_channel_groups(analysis))
    forms = find_factorizable(model, context, round_to=1) if low_rank else []
    return Candidates(model, analysis, curves, find_droppable(model, []), context.samples, CONFIG, forms), context


def plan(model: ir.Model, **options: Any) -> tuple[Candidates, Widths]:
    candidates, context = list_candidates(model)
    return candidates, plan_widths(candidates, PruneOptions(remove=0.3, **options), context, {})


@pytest.mark.parametrize("block", [4, 8, 16])
def test_no_cut_is_allowed_that_saves_no_time(made_up: Callable[[int], object], block: int) -> None:
    made_up(block)
    candidates, found = plan(nets.mlp((64, 96, 64, 5)))
    assert found.multiple == block
    assert found.seconds is not None
    for curve, amounts, (timed, saved) in zip(candidates.curves, found.amounts, found.seconds.curves, strict=True):
        assert len(amounts) > 3
        assert ((len(curve.group) - amounts) % block == 0).all()
        assert (np.diff(saved) > 0).all()
        assert timed.tolist() == amounts.tolist()


def test_a_small_family_loses_no_part_of_a_block(made_up: Callable[[int], object]) -> None:
    made_up(16)
    _, found = plan(nets.mlp((64, 32, 64, 5)))
    assert found.amounts[0].tolist() == [0, 16]


def test_families_cut_in_one_model_are_told_apart(made_up: Callable[[int], list[ir.Model]]) -> None:
    profiled = made_up(8)
    model = nets.mlp((64, 48, 48, 48, 48, 5))
    candidates, found = plan(model, of="latency", round_to=8)
    assert found.seconds is not None
    dense = sum(take_up(model, 8).values())
    for number, (amounts, saved) in enumerate(found.seconds.curves):
        for amount, seconds in zip(amounts.tolist(), saved.tolist(), strict=True):
            assert seconds == pytest.approx(dense - sum(take_up(candidates.build_trial(number, amount), 8).values()))
    # two to see what a run takes, and two colors of at most six widths
    assert len(profiled) <= 2 + 2 * widths.MAX_WIDTHS


def test_blocks_save_their_layers_and_cheaper_forms_what_they_are_cheaper(made_up: Callable[[int], object]) -> None:
    made_up(1)
    model = nets.residual(blocks=2, width=32)
    candidates, context = list_candidates(model, low_rank=True)
    found = plan_widths(candidates, PruneOptions(remove=0.3), context, {})
    assert found.seconds is not None
    assert candidates.blocks
    assert all(saved > 0 for saved in found.seconds.blocks)
    assert [len(forms) for forms in found.seconds.factorizations] == [len(one.options) for one in candidates.factorizable]
    assert any(saved > 0 for forms in found.seconds.factorizations for saved in forms)


def test_what_there_is_no_time_for_is_counted(made_up: Callable[[int], object], monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(8)
    candidates, context = list_candidates(nets.mlp((64, 96, 64, 5)))
    monkeypatch.setattr(Pacer, "fits", lambda self: False)
    found = plan_widths(candidates, PruneOptions(remove=0.3), context, {})
    assert found.seconds is not None
    assert found.unmeasured == len(candidates.curves)
    assert all(timed.tolist() == [0] for timed, _ in found.seconds.curves)
    assert all(len(amounts) > 1 for amounts in found.amounts)


def test_it_is_measured_once(made_up: Callable[[int], list[ir.Model]]) -> None:
    profiled, cache = made_up(8), dict[str, Widths]()
    candidates, context = list_candidates(nets.mlp((64, 96, 64, 5)))
    first = plan_widths(candidates, PruneOptions(remove=0.3), context, cache)
    count = len(profiled)
    assert plan_widths(candidates, PruneOptions(remove=0.5, of="macs"), context, cache) is first
    assert len(profiled) == count


@pytest.mark.parametrize(("options", "multiple"), [({"of": "macs", "round_to": 4}, 4), ({"threshold": 0.1}, 8)])
def test_nothing_is_timed_where_no_clock_counts_or_nothing_is_fed(options: dict[str, Any], multiple: int) -> None:
    candidates, context = list_candidates(nets.mlp((16, 24, 5)))
    asked = PruneOptions(**({"remove": 0.3} if "of" in options else {}), **options)
    found = plan_widths(candidates, asked, context if "of" in options else RunContext(None, CONFIG), {})
    assert found.seconds is None
    assert ((24 - found.amounts[0]) % multiple == 0).all()


def test_real_times_are_finite() -> None:
    _, found = plan(nets.residual(blocks=2, width=32))
    assert found.seconds is not None
    assert all(np.isfinite(saved).all() and saved[0] == 0 for _, saved in found.seconds.curves)
