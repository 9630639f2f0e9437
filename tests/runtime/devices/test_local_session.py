"""A model's session and that of a file's content are one thing to whoever runs them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import OnnxslimError, UnsupportedError
from onnxslim.model_io import model_file
from onnxslim.runtime.devices.local_session import LocalSession
from onnxslim.runtime.devices.raw_session import RawSession
from onnxslim.runtime.providers import CPU, Provider
from onnxslim.runtime.session import Session, SessionConfig


def test_both_say_and_give_the_same(digits: ir.Model) -> None:
    model, raw = Session(digits), RawSession(model_file.to_bytes(digits), SessionConfig())
    feed = {name: np.zeros((2, *model_shape(digits)), np.float32) for name in model.inputs}
    assert (model.inputs, model.outputs, model.provider) == (raw.inputs, raw.outputs, raw.provider)
    for name, expected in model.run(feed).items():
        np.testing.assert_array_equal(raw.run(feed, [name])[name], expected)
    assert min(model.time_run(feed), raw.time_run(feed), model.create_seconds, raw.create_seconds) > 0
    for session in (model, raw):
        with pytest.raises(OnnxslimError, match="the runtime failed while running the model"):
            session.run({name: value.astype(np.int64) for name, value in feed.items()})


def model_shape(model: ir.Model) -> tuple[int, ...]:
    shape = model.graph.inputs[0].shape
    assert shape is not None
    return tuple(int(size) for size in shape[1:])  # type: ignore[arg-type]


def test_a_fallback_is_no_session() -> None:
    class Fallen:
        def get_providers(self) -> list[str]:
            return [CPU]

    fallen: Any = Fallen()
    with pytest.raises(UnsupportedError):
        LocalSession(fallen, SessionConfig("cuda"), Provider("CUDAExecutionProvider", 0), 0.0)
