"""Figures are kept for the machine that they were measured on."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxslim.runtime.devices import machine_figures
from onnxslim.runtime.devices.device import use_device
from onnxslim.runtime.devices.machine_figures import (
    count_cores,
    get_path,
    identify_machine,
    is_this_machine,
    keep_figures,
    read_figures,
)


class Board:
    """A device by its facts alone."""

    def __init__(self) -> None:
        self.name = "board"
        self.facts = {"cpu": "a board's", "flags": "asimddp", "onnxruntime": "1.30.0", "cores": "4"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_the_machine_is_where_models_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    here = identify_machine()
    assert is_this_machine()
    assert here["onnxruntime"] == machine_figures.version()
    device = Board()
    with use_device(device):  # type: ignore[arg-type]
        assert identify_machine() == {"cpu": "a board's", "flags": "asimddp", "onnxruntime": "1.30.0"}
        assert not is_this_machine()
        assert count_cores() == 4
        for told in ("many", "-1", "9" * 5000):
            monkeypatch.setitem(device.facts, "cores", told)
            assert count_cores() == 1
    monkeypatch.setattr(machine_figures, "version", lambda: "0.0.1")
    assert identify_machine() != here


def test_each_machine_has_its_own_and_the_oldest_are_forgotten() -> None:
    machines = [{"cpu": str(number)} for number in range(machine_figures.MAX_MACHINES + 1)]
    for number, machine in enumerate(machines):
        assert keep_figures("kind", machine, [number]) == get_path("kind")
    assert keep_figures("kind", machines[5], ["anew"]) is not None
    assert [read_figures("kind", machines[number]) for number in (0, 1, 5, len(machines) - 1)] == [
        None, [1], ["anew"], [len(machines) - 1]
    ]  # fmt: skip
    assert read_figures("other kind", machines[1]) is None


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"machine": 1}]', "\udcff"])
def test_a_broken_file_is_no_file(content: str) -> None:
    get_path("kind").parent.mkdir()
    get_path("kind").write_text(content, encoding="utf-8", errors="surrogateescape")
    assert read_figures("kind", {}) is None
    assert keep_figures("kind", {}, 1) is not None
    assert read_figures("kind", {}) == 1


def test_a_cache_that_cannot_be_written_keeps_nothing(cache: Path) -> None:
    (cache / "onnxslim").write_text("a file")
    assert keep_figures("kind", {}, 1) is None
