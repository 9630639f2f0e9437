"""Which device is asked."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.runtime.devices.device import Device, current_device, use_device
from onnxslim.runtime.session import Session, SessionConfig, open_timed_session


class Nowhere:
    """Refuses to be asked."""

    name, facts = "nowhere", {"cpu": "none"}

    def open_session(self, model: ir.Model, config: SessionConfig) -> Session:
        raise ConnectionError("asked")


def test_the_innermost_block_says_where_models_are_timed(digits: ir.Model) -> None:
    device: Device = Nowhere()  # type: ignore[assignment]
    assert current_device() is None
    with use_device(device):
        with pytest.raises(ConnectionError):
            open_timed_session(digits, SessionConfig())
        with use_device(None):
            assert isinstance(open_timed_session(digits, SessionConfig()), Session)
        assert current_device() is device
    assert current_device() is None
