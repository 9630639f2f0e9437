"""Memory is measured in a process of its own."""

from __future__ import annotations

import onnx_ir as ir
import pytest

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


def test_freed_memory_goes_back_once_the_process_has_grown_by_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    resident, returned = [1000], list[int]()

    def release() -> None:
        returned.append(resident[0])
        resident[0] -= 100

    monkeypatch.setattr(memory, "read_resident_bytes", lambda: resident[0])
    monkeypatch.setattr(memory, "release_freed_memory", release)
    limit = memory.GrowthLimit(300)
    for now in (1100, 1200, 1201, 1400, 1402):
        resident[0] = now
        limit.keep()
    assert returned == [1000, 1201, 1402]
    monkeypatch.setattr(memory, "read_resident_bytes", lambda: None)
    memory.GrowthLimit(0).keep()
    limit.keep()
