"""The sweep goes on where it ended, ends what does not end, and prints what it found."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import reach

from tests.support.paths import ROOT


def test_a_command_is_run_to_its_end() -> None:
    found = reach.run([sys.executable, "-c", "import sys; print('done'); print('oh', file=sys.stderr); sys.exit(5)"], 60)
    assert (found.exit, found.out, found.err) == (5, "done\n", "oh")


def test_the_memory_of_a_command_is_its_own() -> None:
    # in a process of its own: the system counts what a parent held when it forked, and pytest holds much
    program = "import reach, sys; print([reach.run([sys.executable, '-c', c], 60).peak_bytes for c in sys.argv[1:]])"
    command = [sys.executable, "-c", program, "pass", "bytearray(300_000_000)"]
    printed = subprocess.run(command, cwd=ROOT / "benchmarks", capture_output=True, text=True, check=True).stdout
    small, large = json.loads(printed)
    assert large - small > 200_000_000


def test_a_command_that_does_not_end_is_ended() -> None:
    assert reach.run([sys.executable, "-c", "import time; time.sleep(600)"], 1).exit < 0


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("2m", 120), ("0.5h", 1800)])
def test_times_are_read_as_optimize_reads_them(text: str, seconds: float) -> None:
    assert reach.parse_seconds(text) == seconds


def test_what_is_no_time_is_said() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no time"):
        reach.parse_seconds("soon")


def test_of_a_model_and_tool_that_are_there_twice_the_later_counts(tmp_path: Path) -> None:
    rows = [{"name": "a", "tool": "static", "exit": code} for code in (1, 0)] + [{"name": "a", "tool": "onnxslim"}]
    (tmp_path / "out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert reach.read_rows(tmp_path / "out.jsonl") == rows[1:]
    assert reach.read_rows(tmp_path / "none.jsonl") == []


def test_ours_and_the_best_by_hand_are_timed_in_turn_where_both_files_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def verify(entry: dict[str, Any], result: Path, judges: Path) -> dict[str, Any]:
        asked.append((entry["model"].name, result.name, entry["natural"]))
        return {"speed_ratio": 1.25}

    monkeypatch.setattr(reach, "verify", verify)
    entry = {"name": "m", "model": Path("m.onnx"), "natural": "f1"}
    seen = {"speed_ratio": 2.0, "size_ratio": 2.0, "natural": {"f1": 1.0}}
    rows = [{"name": "m", "tool": tool, "verified": seen} for tool in ("onnxslim", "static")]
    assert reach.compare_with_hand(entry, rows, tmp_path, tmp_path) is None, "no files"
    for tool in ("onnxslim", "static"):
        reach.get_path(entry, tool, tmp_path).touch()
    found = reach.compare_with_hand(entry, rows, tmp_path, tmp_path)
    assert found == rows[0] | {"beside_hand": {"tool": "static", "speed_ratio": 1.25}}
    assert asked == [("m.static.onnx", "m.onnxslim.onnx", None)]
    assert reach.compare_with_hand(entry, rows[:1], tmp_path, tmp_path) is None, "nothing by hand keeps the limit"


def test_only_states_are_handed_to_what_verifies() -> None:
    entry = {"flags": ["--metric", "f1", "--state", "h_out=h", "--state", "c_out=c"]}
    assert reach.get_states(entry) == ["--state", "h_out=h", "--state", "c_out=c"]


def test_output_that_is_no_json_is_an_error_and_not_the_end() -> None:
    assert reach.read_told("Traceback") == {"error": "no JSON"}
    assert reach.read_told('{"error": {"message": "no data"}}')["error"] == "no data"


def test_the_tables_have_a_line_a_model_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    seen = {"speed_ratio": 2.0, "size_ratio": 3.9, "identical": False, "natural": {"f1": 0.5}}
    cost = {"kind": "vad", "exit": 0, "wall_s": 9.0, "budget_s": 60.0, "peak_bytes": 10**8, "model_bytes": 10**6}
    row = {"name": "m", "tool": "onnxslim", "verified": seen, **cost}
    refused = {"name": "r", "tool": "onnxslim", "runs": True, **cost, "exit": 4}
    reach.print_tables([row, row | {"tool": "static"}, refused])
    lines = capsys.readouterr().out.splitlines()
    assert "| m | vad | 2.00 | 3.90 | **broken**: f1 0.5 | 9 | 100 | none keeps it | – | – | – |" in lines
    assert "| r | vad | – | – | exit 4 | 9 | 100 | none keeps it | – | – | – |" in lines
    assert "| refused though onnxruntime runs it | 1: r |" in lines
