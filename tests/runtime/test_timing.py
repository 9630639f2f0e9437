"""Interleaved rounds."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.runtime.session import Session
from onnxslim.runtime.timing import interleave
from tests.support.digits import FEED


def test_interleaved_sessions_of_one_model_are_equally_fast(digits: ir.Model) -> None:
    timing = interleave({"a": Session(digits), "b": Session(digits)}, [FEED], rounds=20, seconds=3)
    assert len(timing.rounds["a"]) == len(timing.rounds["b"]) >= 5
    assert (timing.provider, timing.threads, timing.batch) == ("cpu", 1, 1)
