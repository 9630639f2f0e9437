"""A fragment of a model card."""

from __future__ import annotations

import pytest

from onnxslim.reporting.model_card import render_model_card
from tests.support.report_forms import HOSTILE, hostile
from tests.support.sample_report import sample
from tests.support.verified import verified


def test_it_has_the_figures_the_origin_of_the_data_and_the_command() -> None:
    report = sample() | {"metadata": {"repeat with": "onnxslim optimize m.onnx", "machine": "x86", "onnxruntime": "1.32"}}
    report["data"]["fit"] = {"source": "photos", "n": 300}
    card = render_model_card(report)
    for told in ("300 samples of photos", "onnxslim optimize m.onnx", "Top-1", "95 % interval", report["output"]["sha256"]):
        assert told in card
    assert "\n\n\n\n" not in card


def test_a_check_says_its_verdict_and_that_it_does_not_know_the_calibration_data() -> None:
    card = render_model_card(verified())
    assert "slim.onnx was verified against model.onnx with onnxslim 0.1.0: fail" in card
    assert "compressed with" not in card  # by whom is not known either
    assert "not known to this check" in card


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_adds_no_line(name: str) -> None:
    assert len(render_model_card(hostile(name)).splitlines()) == len(render_model_card(hostile("plain")).splitlines())
