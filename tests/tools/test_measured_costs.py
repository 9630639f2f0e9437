"""What doctor measured is there for inspect; anything else in its place is nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxslim.runtime.devices.machine_figures import get_path, identify_machine, keep_figures
from onnxslim.tools.measured_costs import KIND, keep_costs, read_costs


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_what_was_kept_is_read() -> None:
    assert read_costs() == {}
    assert keep_costs({"ConvInteger": 1.5}) == get_path(KIND)
    assert read_costs() == {"ConvInteger": 1.5}


@pytest.mark.parametrize("figures", [[], 3, {"a": None}, {"a": "x"}, None])
def test_what_are_no_costs_are_none(figures: object) -> None:
    keep_figures(KIND, identify_machine(), figures)
    assert read_costs() == {}
