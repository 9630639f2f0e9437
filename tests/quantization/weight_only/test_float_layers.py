"""Int8 weights for some of the layers that stay in float, where all of them would lose too much."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.core.step_report import StepReport
from onnxslim.data.samples import Samples
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.context import QuantizeContext
from onnxslim.quantization.evaluation.judge import MAX_DROP_SHARE, Judge
from onnxslim.quantization.float_weights import MAX_ERROR_SHARE, Variant, make_variants
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.placement_selection import SelectedPlacement
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.quantization.weight_only.float_layers import store_some_weights
from onnxslim.runtime.session import SessionConfig
from tests.support.judges import judge_by
from tests.support.quantize_graphs import model, samples, weight

LAYERS = 4
BODY = "\n".join(
    f"c{i} = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(r{i}, w{i})\n r{i + 1} = Relu(c{i})" for i in range(LAYERS)
)
GRAPH = f"g (float[1,16,12,12] x) => (float[1,16,12,12] y) {{ r0 = Identity(x)\n {BODY}\n y = Identity(r{LAYERS}) }}"


def make_layers() -> tuple[ir.Model, Samples, ReferenceOutputs, list[Variant]]:
    """A model of float layers, its data and outputs, and it with int8 weights and without."""
    found = model(GRAPH, **{f"w{i}": weight(16, 16, 3, 3) for i in range(LAYERS)})
    for node in found.graph:
        node.name = f"{node.op_type}_{node.outputs[0].name}"
    data = samples(found, 16, 12, 12)
    reference = ReferenceOutputs(found, CalibrationFeeds(data), SessionConfig())
    return found, data, reference, make_variants(found, reference, {"y": 0.0}, TARGETS["cpu"], QuantizeOptions(target="cpu"))


def select(
    variants: list[Variant], reference: ReferenceOutputs, context: QuantizeContext, options: QuantizeOptions
) -> tuple[Any, Any]:
    """What a judge takes of ``variants``, and that with int8 weights for some layers."""
    judge, report = Judge(context, options), StepReport("quantize")
    selected: Any = SelectedPlacement(cast(Any, SimpleNamespace(variants=variants)), judge.judge(variants).variant)
    feeds = list(CalibrationFeeds(context.require_samples("a test")))
    return selected, store_some_weights(selected, reference, feeds, judge, context=context, options=options, report=report)


@pytest.mark.parametrize("allowed", [0.5, 0.95, 10.0, 0.0])
def test_what_costs_most_keeps_half_floats_and_the_rest_is_in_int8(allowed: float) -> None:
    """``allowed`` is a share of what int8 weights lose for all of them."""
    found, data, reference, variants = make_layers()
    small, large = variants
    limit = max(allowed * reference.error(small.model), 1e-12)
    context = QuantizeContext(data, SessionConfig(), drop_over_limit=judge_by(lambda one: reference.error(one) / limit))
    selected, stored = select(variants, reference, context, QuantizeOptions(target="cpu"))
    if allowed > 1:
        assert stored is selected, "all are in int8 already"
        return
    if not allowed:
        assert stored.variant is large, "none bears it"
        return
    assert 0 < len(stored.large_weights) < LAYERS
    assert reference.error(stored.variant.model) <= MAX_DROP_SHARE * limit, "of many that keep the limit one is lucky"
    sizes = [len(model_file.to_bytes(one.model)) for one in (small, stored.variant, large)]
    assert sizes == sorted(set(sizes))
    again = QuantizeOptions(target="cpu", float_weights="int8", large_weights=stored.large_weights)
    (replayed,) = make_variants(found, reference, {"y": 0.0}, TARGETS["cpu"], again)
    assert model_file.to_bytes(replayed.model) == model_file.to_bytes(stored.variant.model)


@pytest.mark.parametrize("allowed", [0.3, 0.7])
def test_where_no_metric_judges_they_may_add_what_int8_for_all_of_them_may(allowed: float) -> None:
    _, data, reference, variants = make_layers()
    borne = allowed * variants[0].worst_error
    options = QuantizeOptions(target="cpu", min_sqnr=float(-10 * np.log10(borne / MAX_ERROR_SHARE)))
    selected, stored = select(variants, reference, QuantizeContext(data, SessionConfig()), options)
    assert selected.variant is variants[1]
    assert 0 < len(stored.large_weights) < LAYERS
    assert 0 < stored.variant.worst_error <= borne * (1 + 1e-9)


def test_without_time_nothing_is_judged() -> None:
    _, data, reference, variants = make_layers()

    def judge(_: ir.Model) -> float:
        judged.append(1)
        return float("inf")

    judged: list[int] = []
    context = QuantizeContext(data, SessionConfig(), drop_over_limit=judge_by(judge), deadline=time.monotonic())
    selected, stored = select(variants, reference, context, QuantizeOptions(target="cpu"))
    assert stored is selected
    assert len(judged) == len(variants), "what the placement was chosen by"
