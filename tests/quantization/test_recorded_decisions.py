"""Decisions of earlier runs are repeated or refused, never passed over."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.sources import open_samples
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.recorded_decisions import check_layers, check_names, check_repeated, check_samples
from onnxslim.quantization.step import quantize
from tests.support.quantize_graphs import model, weight

DECISIONS: dict[str, Any] = {
    "float_units": ("a",), "loss_share": 0.5, "block_layers": ("a",), "large_weights": ("a",), "calibration_samples": 3,
    "corrected_layers": 2, "fitted_weights": ("w",),
}  # fmt: skip
REPEATED = {
    ("static", None): "float_units loss_share large_weights calibration_samples corrected_layers",
    ("dynamic", None): "float_units loss_share large_weights",
    ("float16", None): "",
    ("weights", "mixed"): "calibration_samples fitted_weights",
    ("weights", "int8"): "float_units loss_share block_layers corrected_layers",
    ("weights", "int8:qdq"): "float_units loss_share",
    ("weights", "int4"): "float_units",
    ("weights", "codebook:16"): "float_units",
    ("weights", "float16"): "float_units",
}


@pytest.mark.parametrize("name", DECISIONS)
@pytest.mark.parametrize(("scheme", "weights"), REPEATED)
def test_what_a_way_does_not_repeat_is_refused_by_name(scheme: str, weights: str | None, name: str) -> None:
    options = QuantizeOptions(weights=weights, **{name: DECISIONS[name]})
    if name == "loss_share":
        options = dataclasses.replace(options, float_units=())
    if name in REPEATED[scheme, weights].split():
        check_repeated(options, scheme)
    else:
        with pytest.raises(InvalidDataError, match=f"{name}: a decision that .* does not repeat") as caught:
            check_repeated(options, scheme)
        assert caught.value.exit_code == 3


def test_no_decision_is_none_to_refuse() -> None:
    for scheme, weights in REPEATED:
        check_repeated(QuantizeOptions(weights=weights), scheme)
    with pytest.raises(InvalidDataError, match="block_layers"):
        check_repeated(QuantizeOptions(weights="int8", block_layers=("a",)), "weights", only_qdq=True)
    with pytest.raises(InvalidDataError, match=r"loss_share: .* float_units, and there are none"):
        check_repeated(QuantizeOptions(loss_share=0.5), "static")


@pytest.mark.parametrize("key", ["float_units", "block_layers", "large_weights"])
def test_layers_of_another_model_are_refused_with_the_nearest(key: str) -> None:
    net = model("g (float[n,8] x) => (float[n,8] y) { y = Neg (x) }")
    net.graph[0].name = "negative"
    check_layers(QuantizeOptions(**{key: ("negative", "made_here")}), net, ["made_here"])
    with pytest.raises(InvalidDataError, match=f"{key}: the model has no layer negatve") as caught:
        check_layers(QuantizeOptions(**{key: ("negative", "negatve")}), net)
    assert caught.value.hint == "did you mean negative?"


def test_names_of_weights_likewise() -> None:
    check_names("fitted_weights", (), (), "weight")
    with pytest.raises(InvalidDataError, match="fitted_weights: the model has no weight w2"):
        check_names("fitted_weights", ("w", "w2"), {"w"}, "weight")


@pytest.mark.parametrize(
    "changes",
    [
        {"float_units": ("no_such",)},
        {"float_units": ("no_such",), "activations": "dynamic"},
        {"float_units": ("no_such",), "weights": "int8"},
        {"large_weights": ("no_such",)},
        {"block_layers": ("no_such",), "weights": "int8"},
        {"fitted_weights": ("no_such",), "weights": "mixed", "max_size": 10_000},
        {"weight_formats": {"uint4:32": ("no_such",), "int8": ()}, "weights": "mixed"},
    ],
)
def test_no_step_passes_over_a_name_that_the_model_has_not(changes: dict[str, Any]) -> None:
    text = "g (float[n,128] x) => (float[n,128] y) { a = MatMul (x, w0)  b = Relu (a)  y = MatMul (b, w1) }"
    net = model(text, w0=weight(128, 128), w1=weight(128, 128))
    rows = open_samples({"x": np.random.default_rng(0).standard_normal((16, 128), np.float32)}, net)
    asked = {"activations": "static"} if "weights" not in changes else {}
    with pytest.raises(InvalidDataError, match=r"the model has no .* no_such"):
        quantize(net, rows, QuantizeOptions(**{"placement": "static", **asked, **changes}))


@pytest.mark.parametrize("changes", [{"calibration_samples": 0}, {"corrected_layers": -1}])
def test_counts_below_what_can_be_meant_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="expected at least"):
        QuantizeOptions(**changes)  # type: ignore[arg-type]


def test_samples_of_a_run_that_had_more_are_refused_with_both_numbers() -> None:
    for recorded in (None, 3, 4):
        check_samples(QuantizeOptions(calibration_samples=recorded), 4)
    with pytest.raises(InvalidDataError, match="calibration_samples: 5 are recorded and the data have 4"):
        check_samples(QuantizeOptions(calibration_samples=5), 4)
    net = model("g (float[n,8] x) => (float[n,8] y) { y = MatMul (x, w) }", w=weight(8, 8))
    data = open_samples({"x": np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)}, net)
    for options in (
        QuantizeOptions(placement="static", activations="static", calibration_samples=9),
        QuantizeOptions(weights="mixed", min_sqnr=10.0, calibration_samples=9),
    ):
        with pytest.raises(InvalidDataError, match="9 are recorded and the data have 8"):
            quantize(net, data, options)
