"""A session of bytes is the session of the model."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidModelError, UnsupportedError, UsageError
from onnxslim.model_io import model_file
from onnxslim.runtime.devices.raw_session import RawSession
from onnxslim.runtime.session import Session, SessionConfig
from tests.support.digits import FEED


def test_it_gives_what_the_models_own_session_does(digits: ir.Model) -> None:
    raw, session = RawSession(model_file.to_bytes(digits), SessionConfig()), Session(digits)
    assert (raw.inputs, raw.outputs, raw.provider) == (session.inputs, session.outputs, session.provider)
    for name, array in session.run(FEED).items():
        np.testing.assert_array_equal(raw.run(FEED)[name], array)


def test_its_errors_are_those_of_a_session(digits: ir.Model) -> None:
    with pytest.raises(InvalidModelError, match="refuses the model"):
        RawSession(b"nothing", SessionConfig())
    content = model_file.to_bytes(digits)
    with pytest.raises(UnsupportedError, match="loads no code"):
        RawSession(content, SessionConfig(custom_ops=("lib.so",)))
    with pytest.raises(UsageError):
        RawSession(content, SessionConfig(provider_options={"a": "1"}))
    with pytest.raises(UsageError, match="running"):
        RawSession(content, SessionConfig()).run({"image": np.zeros((1, 2), np.float32)})
