"""Int8 weights for some of the layers that stay in float, where all of them would lose too much."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.core.step_report import StepReport
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.context import QuantizeContext
from onnxslim.quantization.evaluation.judge import Judge
from onnxslim.quantization.float_weights import make_variants
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


@pytest.mark.parametrize("allowed", [0.3, 0.7, 10.0, 0.0])
def test_what_costs_most_keeps_half_floats_and_the_rest_is_in_int8(allowed: float) -> None:
    """``allowed`` is a share of what int8 weights lose for all of them."""
    found = model(GRAPH, **{f"w{i}": weight(16, 16, 3, 3) for i in range(LAYERS)})
    for node in found.graph:
        node.name = f"{node.op_type}_{node.outputs[0].name}"
    data = samples(found, 16, 12, 12)
    feeds, options = CalibrationFeeds(data), QuantizeOptions(target="cpu")
    reference = ReferenceOutputs(found, feeds, SessionConfig())
    variants = make_variants(found, reference, {"y": 0.0}, TARGETS["cpu"], options)
    small, large = variants
    limit = max(allowed * reference.error(small.model), 1e-12)
    context = QuantizeContext(data, SessionConfig(), drop_over_limit=judge_by(lambda one: reference.error(one) / limit))
    judge, report = Judge(context, options), StepReport("quantize")
    selected: Any = SelectedPlacement(cast(Any, SimpleNamespace(variants=variants)), judge.judge(variants).variant)
    stored = store_some_weights(selected, reference, list(feeds), judge, context=context, options=options, report=report)
    if allowed > 1:
        assert stored is selected, "all are in int8 already"
        return
    if not allowed:
        assert stored.variant is large, "none bears it"
        return
    assert 0 < len(stored.large_weights) < LAYERS
    assert reference.error(stored.variant.model) <= limit
    sizes = [len(model_file.to_bytes(one.model)) for one in (small, stored.variant, large)]
    assert sizes == sorted(set(sizes))
    again = QuantizeOptions(target="cpu", float_weights="int8", large_weights=stored.large_weights)
    (replayed,) = make_variants(found, reference, {"y": 0.0}, TARGETS["cpu"], again)
    assert model_file.to_bytes(replayed.model) == model_file.to_bytes(stored.variant.model)
