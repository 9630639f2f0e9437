"""Memory is measured in a process of its own."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.runtime import memory
from onnxslim.runtime.session import SessionConfig
from tests.support.digits import FEED


def test_peak_memory_is_measured_in_a_process_of_its_own(digits: ir.Model) -> None:
    found = memory.measure_peak(digits, FEED, SessionConfig())
    assert found is not None
    assert 100_000 < found < 500_000_000
    assert memory.measure_peak(digits, FEED, SessionConfig(provider="cuda")) is None


def test_memory_is_what_a_bare_process_gains_now_and_at_its_peak(digits: ir.Model) -> None:
    found = memory.measure_memory(digits, FEED, SessionConfig(session_options={"session.intra_op.allow_spinning": "0"}))
    assert found.resident is not None
    assert found.peak is not None
    assert 0 < found.resident <= found.peak
    assert found.device is None


def test_what_a_process_holds_is_told_where_the_system_tells() -> None:
    resident = memory.read_resident_bytes()
    assert resident is None or 10_000_000 < resident < 10**12
