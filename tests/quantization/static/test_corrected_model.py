"""Mending is kept where the outputs gain by it, and what the model loses is told of the model that is handed back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.activations.run_context import RunContext
from onnxslim.quantization.calibration import observe
from onnxslim.quantization.numerics import affine
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.qdq.fusion_groups import find_fusion_groups, make_plan
from onnxslim.quantization.qdq.insert import QuantizationParams, QuantizedWeights
from onnxslim.quantization.qdq.placement import find_int8_capable
from onnxslim.quantization.static import corrected_model
from onnxslim.quantization.static.corrected_model import build_corrected_model
from onnxslim.quantization.targets.registry import TARGETS
from tests.support.quantize_graphs import model, samples, weight


@pytest.mark.parametrize("spoilt", [False, True])
def test_the_better_of_both_models_is_handed_back(monkeypatch: pytest.MonkeyPatch, spoilt: bool) -> None:
    found = prepare_model(model("g (float[1,64] x) => (float[1,8] y) { y = MatMul (x, w) }", w=weight(64, 8)))[0]
    feeds = list(samples(found, 64, count=32).batches(1))
    units = find_fusion_groups(found, TARGETS["cpu"])
    plan = make_plan(units, find_int8_capable(units))
    seen = observe.collect_statistics(found, feeds, list(plan.tensors))
    encodings = {name: affine.compute_activation_encoding(seen.low[name], seen.high[name]) for name in plan.tensors}
    correct_layers = corrected_model.correct_layers

    def spoil(*arguments: object, **more: object) -> object:
        mended, corrections, stopped = correct_layers(*arguments, **more)  # type: ignore[arg-type]
        codes = {name: QuantizedWeights(np.zeros_like(one.weight), one.scales) for name, one in mended.weights.items()}
        return replace(mended, weights=codes), corrections, stopped

    if spoilt:
        monkeypatch.setattr(corrected_model, "correct_layers", spoil)
    reference = ReferenceOutputs(found, feeds, RunContext().config)
    result = build_corrected_model(found, RunContext(), plan, QuantizationParams(encodings), feeds, reference)
    assert result.is_mended is not spoilt
    assert result.output_errors == reference.errors(result.model)
    errors = result.variant_errors
    assert sum(result.output_errors.values()) == min(errors.values()) == errors["as rounded" if spoilt else "mended"]
