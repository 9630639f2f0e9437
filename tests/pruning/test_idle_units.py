"""Whatever ranks channels, those that say nothing go first and exactly."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.graph.cost import compute_cost
from onnxslim.pruning.idle_units import remove_idle_units
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.step import prune
from tests.support.equality import run
from tests.support.idle_channels import IDLE_KINDS, with_idle_channels
from tests.support.onnx_text import feeds
from tests.support.pruned import BY_COUNT

#: Not a whole block of channels, so that simplification leaves them.
IDLE = 11


def some(model: ir.Model) -> Samples:
    return open_samples({"x": feeds(model, 48)["x"]}, model)


def distance(model: ir.Model, other: ir.Model) -> float:
    fed = feeds(model, 4, seed=5)
    a, b = run(model, fed)["y"], run(other, fed)["y"]
    return float(np.square(a - b).sum() / np.square(a).sum())


def first_width(model: ir.Model) -> int:
    weight = next(iter(model.graph)).inputs[1]
    assert weight is not None
    assert weight.shape is not None
    return int(weight.shape[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "has_data"),
    [
        ({}, True), ({}, False), ({"of": "macs"}, False), ({"uniform": True}, True), ({"uniform": True}, False),
        ({"rounds": 2}, False),
        *(({"criterion": criterion}, False) for criterion in ("l1", "l2", "random")),
        *(({"criterion": criterion}, True) for criterion in ("l1", "bn", "activation", "random")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", IDLE_KINDS)
def test_nothing_live_goes_where_they_are_enough(kind: str, options: dict[str, object], has_data: bool) -> None:
    model = with_idle_channels(kind, IDLE)
    result, _ = prune(model, some(model) if has_data else None, PruneOptions(remove=0.15, **BY_COUNT | options))  # type: ignore[arg-type]
    assert distance(model, result) < 1e-9
    of = str(options.get("of", "params"))
    assert getattr(compute_cost(result), of) <= 0.85 * getattr(compute_cost(model), of)


@pytest.mark.parametrize("options", [{"threshold": 0.01, "criterion": "l1"}, {"redundancy": 1e-6}, {"threshold": 0.001}])
@pytest.mark.parametrize("kind", IDLE_KINDS)
def test_they_are_below_any_limit(kind: str, options: dict[str, object]) -> None:
    model = with_idle_channels(kind, IDLE)
    result, _ = prune(model, None, PruneOptions(**BY_COUNT | options))  # type: ignore[arg-type]
    assert first_width(result) == 32 - IDLE
    assert distance(model, result) < 1e-9


@pytest.mark.parametrize("kind", IDLE_KINDS)
def test_what_they_held_counts_where_more_has_to_go(kind: str) -> None:
    model = with_idle_channels(kind, IDLE)
    total = compute_cost(model).params
    assert (
        0.45 * total
        < compute_cost(prune(model, None, PruneOptions(remove=0.5, of="params", round_to=1))[0]).params
        <= 0.5 * total
    )


@pytest.mark.parametrize(
    ("options", "width"),
    [
        ({"round_to": 1}, 21), ({"round_to": 4}, 24), ({"round_to": 16}, 32), ({}, 24), ({"exclude": ("^Conv_0$",)}, 32),
        ({"min_layer_params": 10**6}, 32),
    ],
)  # fmt: skip
def test_they_stay_where_options_keep_them(options: dict[str, object], width: int) -> None:
    model = with_idle_channels("zero", IDLE)
    for index, node in enumerate(model.graph):
        node.name = f"{node.op_type}_{index}"
    result, report = remove_idle_units(model, PruneOptions(remove=0.5, **options))  # type: ignore[arg-type]
    assert first_width(result) == width
    assert report.changed == ({"channels always zero": 32 - width} if width < 32 else {})
    assert distance(model, result) < 1e-9


def test_the_model_given_is_not_changed_and_given_back_where_nothing_goes() -> None:
    model = with_idle_channels("zero", IDLE)
    assert remove_idle_units(model, PruneOptions(remove=0.5))[0] is not model
    assert first_width(model) == 32
    live = with_idle_channels("zero", 0)
    assert remove_idle_units(live, PruneOptions(remove=0.5))[0] is live
