"""The sensitivity of layers in int8: one run for all of them, by the layer's own output."""

from __future__ import annotations

import math
from typing import Any

import onnx_ir as ir
import pytest

from onnxslim import sensitivity
from onnxslim.data.sources import open_samples
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.step import prune
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.static.layer_sensitivity import measure_layer_sensitivity
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime import parallel
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.simplification.step import simplify
from tests.support.paths import SAMPLES


def test_int8_is_told_for_every_layer_without_a_model_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    digits, _ = simplify(SAMPLES / "digits_cnn.onnx")
    samples = open_samples(SAMPLES / "digits_calib.npz", digits, max_samples=16)
    sessions: list[int] = []

    def counted(model: ir.Model, *rest: Any, **more: Any) -> Session:
        sessions.append(len(model.graph))
        return Session(model, *rest, **more)

    monkeypatch.setattr("onnxslim.tools.sensitivity_analysis._measure_channels", lambda *_: [])
    monkeypatch.setattr(parallel, "Session", counted)
    found = sensitivity(digits, samples)
    layers = [node.name for node in digits.graph if node.op_type in ("Conv", "Gemm")]
    assert sorted(one.node for one in found.int8) == sorted(layers)
    assert len(sessions) == 2  # the ranges, and every layer beside its twin
    decibels = [one.sqnr_db for one in found.int8]
    assert decibels == sorted(decibels)
    noise = measure_layer_sensitivity(prepare_model(digits)[0], TARGETS["cpu"], CalibrationFeeds(samples), SessionConfig())
    assert decibels[0] == pytest.approx(-10 * math.log10(max(noise.values())))
    assert all(one.macs > 0 and one.params > 0 for one in found.int8)


def test_channels_are_told_the_effects_that_pruning_weighs() -> None:
    digits, _ = simplify(SAMPLES / "digits_cnn.onnx")
    samples = open_samples(SAMPLES / "digits_calib.npz", digits, max_samples=32)
    _, report = prune(digits, samples, PruneOptions(remove=0.05, of="params", round_to=1))
    weighed = {family["node"]: family["effects"] for family in report.details["families"][0] if family["effects"]}
    found = sensitivity(digits, samples)
    assert not found.warnings
    assert {one.node: [n for n, _ in one.levels] for one in found.channels} == {
        node: [n for n, _ in effects] for node, effects in weighed.items()
    }
    for one in found.channels:
        expected = [-10 * math.log10(effect) for _, effect in weighed[one.node]]
        assert [decibels for _, decibels in one.levels] == pytest.approx(expected, abs=1e-9)
    assert [one.levels[0][1] for one in found.channels] == sorted(one.levels[0][1] for one in found.channels)
