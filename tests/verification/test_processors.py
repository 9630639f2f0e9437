"""Answers on other processors: the same pass, others fail and name the layers, what cannot be asked is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.quantization.evaluation.saturating_layers import SaturatingLayer
from onnxslim.runtime.emulation.processor_table import PROCESSORS, Processor
from onnxslim.runtime.isolation import HERE
from onnxslim.runtime.session import SessionConfig
from onnxslim.verification import processors
from onnxslim.verification.processors import check_processors, describe_layers, parse_processors
from tests.support.quantize_graphs import model


@pytest.fixture
def samples(digits: ir.Model, evals: str) -> Samples:
    return open_samples(evals, digits).take(np.arange(60))


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No processor is this machine, and each behaves like it."""
    monkeypatch.setattr(Processor, "is_here", lambda self: False)
    monkeypatch.setattr(processors, "find_interpreter", lambda processor: HERE)


def test_the_same_answers_pass_with_how_many_there_were(digits: ir.Model, samples: Samples) -> None:
    checks = check_processors(digits, samples, ("arm", "avx2"), SessionConfig())
    assert [(check.name, check.verdict) for check in checks] == [("answers on arm", "pass"), ("answers on avx2", "pass")]
    assert checks[0].message == (
        "agreement 100 % with the answers here on 60 samples; the outputs differ by a thousandth at most"
    )


class Rough(processors.EmulatedSession):
    """Outputs that are off by what rounding to 8 bits makes of them."""

    def run(self, feeds: Any, outputs: Any = None) -> dict[str, Any]:
        rng, found = np.random.default_rng(0), super().run(feeds, outputs)
        return {name: value + 1e-3 * np.abs(value).max() * rng.standard_normal(value.shape) for name, value in found.items()}


@pytest.mark.parametrize(("count", "verdict"), [(1, "cannot tell"), (2, "cannot tell"), (60, "cannot tell"), (800, "pass")])
def test_few_samples_on_which_answers_are_alike_say_what_they_prove(
    count: int, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the outputs are as good as the same, which no number of samples makes likelier."""
    scores = model(
        "g (float[n,8] x) => (float[n,8] y) { ten = Constant <value_float = 10.0> ()  z = Mul (x, ten)  y = Softmax (z) }"
    )
    rows = np.random.default_rng(0).normal(0, 0.1, (800, 8)) + np.eye(8)[np.arange(800) % 8]
    call = (scores, open_samples({"x": rows.astype(np.float32)[:count]}, scores), ("arm",), SessionConfig())
    assert [check.verdict for check in check_processors(*call)] == ["pass"]
    monkeypatch.setattr(processors, "EmulatedSession", Rough)
    monkeypatch.setattr(processors, "find_differing_layers", lambda *_: [])
    (check,) = check_processors(*call)
    assert (check.verdict, check.value) == (verdict, 0.0)
    assert ("765 samples that all answer alike prove it" in check.message) == (verdict != "pass")
    assert check.interval is not None
    assert (check.interval[1] > 0.005) == (verdict != "pass")


def test_layers_that_may_saturate_are_no_matter_of_last_digits(
    digits: ir.Model, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = SaturatingLayer("conv1", 3, 16, 40_000, wraps_on_arm=False)
    monkeypatch.setattr(processors, "find_saturating_layers", lambda model: [layer])
    monkeypatch.setattr(processors, "find_differing_layers", lambda *_: [])
    (check,) = check_processors(digits, samples, ("avx2",), SessionConfig())
    assert check.verdict == "cannot tell"
    assert "that proves that no more than" in check.message
    assert "conv1" in check.message


def test_other_answers_fail_and_the_layers_are_named(
    digits: ir.Model, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(processors.EmulatedSession):
        def run(self, feeds: Any, outputs: Any = None) -> dict[str, Any]:
            return {name: np.roll(value, 1, axis=-1) for name, value in super().run(feeds, outputs).items()}

    layer = SaturatingLayer("conv1", 3, 16, 40_000, wraps_on_arm=False)
    monkeypatch.setattr(processors, "EmulatedSession", Wrong)
    monkeypatch.setattr(processors, "find_saturating_layers", lambda model: [layer])
    (check,) = check_processors(digits, samples, ("avx2",), SessionConfig())
    assert check.verdict == "fail"
    assert "conv1 (3 of 16 channels, sums up to 40000)" in check.message
    assert "--target portable" in check.message


@pytest.mark.parametrize("wrong", ["scores", "other"])
def test_every_output_is_judged(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    two = model("""g (float[n,8] x) => (float[n,8] scores, float[n,8] other)
    { ten = Constant <value_float = 10.0> ()  big = Mul (x, ten)  scores = Softmax (big)  other = Neg (x) }""")
    rows = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)

    class Wrong(processors.EmulatedSession):
        def run(self, feeds: Any, outputs: Any = None) -> dict[str, Any]:
            found = super().run(feeds, outputs)
            return {name: value[..., ::-1] if name == wrong else value for name, value in found.items()}

    call = (two, open_samples({"x": rows}, two), ("avx2",), SessionConfig())
    assert [check.verdict for check in check_processors(*call)] == ["pass"]
    monkeypatch.setattr(processors, "EmulatedSession", Wrong)
    (check,) = check_processors(*call)
    assert check.verdict == "fail"
    assert f"of {wrong}" in check.message


def test_what_is_no_tensor_says_nothing_of_the_processor() -> None:
    texts = model("g (string[n] x) => (string[n] y) { y = Identity (x) }")
    samples = open_samples({"x": np.array(["a", "b"])}, texts)
    (check,) = check_processors(texts, samples, ("arm",), SessionConfig())
    assert check.verdict == "cannot tell"
    assert "expected, not verified here: on arm: strings" in check.message


def test_what_cannot_be_asked_is_expected_and_says_what_is_missing(
    digits: ir.Model, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(processor: Processor) -> Any:
        raise UnsupportedError("qemu is not installed", hint="apt install it")

    monkeypatch.setattr(processors, "find_interpreter", fail)
    (check,) = check_processors(digits, samples, ("arm",), SessionConfig())
    assert check.verdict == "cannot tell"  # a gate that asked nobody is not passed
    assert "expected, not verified here: qemu is not installed (apt install it)" in check.message
    monkeypatch.setattr(Processor, "is_here", lambda self: True)
    (check,) = check_processors(digits, samples, ("arm",), SessionConfig())
    assert check.verdict == "pass"


def test_a_slow_processor_answers_as_many_samples_as_it_has_time_for(
    digits: ir.Model, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processors, "MAX_SECONDS", 0.0)
    (check,) = check_processors(digits, samples, ("arm",), SessionConfig())
    assert "on 1 sample;" in check.message


def test_only_layers_that_the_processor_gets_wrong_are_named() -> None:
    layers = [SaturatingLayer(f"conv{i}", 1, 8, 33_000, wraps_on_arm=i == 4) for i in range(5)]
    assert describe_layers(layers, "arm") == describe_layers(layers, "vnni") == describe_layers([], "avx2") == ""
    assert "conv0" in describe_layers(layers, "avx2")
    assert "and 2 more" in describe_layers(layers, "avx2")
    assert describe_layers(layers, "armv8").count("conv") == 1


def test_unknown_processors_and_other_providers_are_usage_errors() -> None:
    assert parse_processors(("arm", "avx2", "arm"), SessionConfig()) == ("arm", "avx2")
    with pytest.raises(UsageError, match="--cpus mips: unknown") as caught:
        parse_processors(("mips",), SessionConfig())
    assert all(name in str(caught.value.hint) for name in PROCESSORS)
    with pytest.raises(UsageError, match="not of cuda"):
        parse_processors(("arm",), SessionConfig(provider="cuda"))
    assert parse_processors((), SessionConfig(provider="cuda")) == ()
