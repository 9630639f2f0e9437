"""A session in another process answers as one here, and its errors are told as one's here are."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import OnnxslimError, UnsupportedError
from onnxslim.data.sources import open_samples
from onnxslim.runtime.emulation import emulated_session
from onnxslim.runtime.emulation.emulated_session import EmulatedSession, HandOverError
from onnxslim.runtime.isolation import HERE, Interpreter
from onnxslim.runtime.session import Session, SessionConfig
from tests.support.quantize_graphs import model


def test_it_answers_as_a_session_here_run_after_run(digits: ir.Model, evals: str) -> None:
    here = Session(digits)
    with EmulatedSession(digits, SessionConfig(), HERE, "elsewhere") as there:
        assert (there.inputs, there.outputs) == (here.inputs, here.outputs)
        for batch in open_samples(evals, digits).take(np.arange(6)).batches(2):
            expected, found = here.run(batch), there.run(batch)
            assert all(np.array_equal(expected[name], found[name]) for name in here.outputs)


def test_what_goes_wrong_there_is_told() -> None:
    found = model("g (float[2,3] x) => (float[2,3] y) { y = Relu (x) }")
    with (
        EmulatedSession(found, SessionConfig(), HERE, "on arm") as there,
        pytest.raises(OnnxslimError, match="on arm: the runtime failed"),
    ):
        there.run({"x": np.zeros((2, 3), np.int64)})
    with pytest.raises(UnsupportedError, match="on arm: the process ended"):
        EmulatedSession(found, SessionConfig(), Interpreter(("false",)), "on arm")


def test_one_that_hangs_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulated_session, "MAX_SILENCE_SECONDS", 0.2)
    found = model("g (float[2,3] x) => (float[2,3] y) { y = Relu (x) }")
    with pytest.raises(UnsupportedError, match=r"on arm: no answer within 0\.2 s"):
        EmulatedSession(found, SessionConfig(), Interpreter(("sh", "-c", "exec sleep 600")), "on arm")


def test_strings_are_refused() -> None:
    found = model("g (string[2] x) => (string[2] y) { y = Identity (x) }")
    with EmulatedSession(found, SessionConfig(), HERE, "on arm") as there, pytest.raises(HandOverError, match="strings"):
        there.run({"x": np.array(["a", "b"])})
