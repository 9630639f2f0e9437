"""How commands end: exit codes, one line for people, the same as JSON, and files left as they were."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Run = Callable[..., "object"]


def usage_errors(cnn: str, calib: str, tmp_path: Path) -> dict[str, list[str]]:
    """What is wrong → the command line."""
    out = str(tmp_path / "out.onnx")
    return {
        "unknown command": ["optimise", "model"],
        "unknown option": ["inspect", cnn, "--colour"],
        "no argument": ["inspect"],
        "no output": ["simplify", cnn],
        "no input": ["simplify", str(tmp_path / "none.onnx"), "-o", out],
        "a folder": ["inspect", str(tmp_path)],
        "no data": ["optimize", cnn, "-o", out],
        "quantize without data": ["quantize", cnn, "-o", out],
        "prune without a budget": ["prune", cnn, "-o", out, "--data", calib, "--of", "macs"],
        "prune without data": ["prune", cnn, "-o", out, "--remove", "10%", "--of", "macs"],
        "latency without data": ["prune", cnn, "-o", out, "--remove", "10%", "--of", "latency"],
        "remove nothing": ["prune", cnn, "-o", out, "--data", calib, "--remove", "0%"],
        "remove everything": ["prune", cnn, "-o", out, "--data", calib, "--remove", "100%"],
        "negative threshold": ["prune", cnn, "-o", out, "--data", calib, "--threshold", "-0.1"],
        "two budgets": ["prune", cnn, "-o", out, "--data", calib, "--remove", "10%", "--redundancy", "1%"],
        "sparsity": ["prune", cnn, "-o", out, "--data", calib, "--sparsity", "4:2"],
        "exclude": ["prune", cnn, "-o", out, "--data", calib, "--remove", "10%", "--exclude", "^no such node$"],
        "bare number": ["optimize", cnn, "-o", out, "--data", calib, "--max-drop", "1"],
        "size": ["optimize", cnn, "-o", out, "--data", calib, "--max-size", "4 MiB"],
        "time": ["optimize", cnn, "-o", out, "--data", calib, "--budget", "soon"],
        "size without end": ["optimize", cnn, "-o", out, "--data", calib, "--max-size", "1e999"],
        "no number": ["quantize", cnn, "-o", out, "--data", calib, "--min-sqnr", "nan"],
        "ratio without end": ["optimize", cnn, "-o", out, "--data", calib, "--min-ratio", "inf"],
        "recipe": ["optimize", cnn, "-o", out, "--data", calib, "--recipe", "int7"],
        "threads": ["benchmark", cnn, "--threads", "0"],
        "provider": ["validate", cnn, "--provider", "cudda"],
        "dim": ["inspect", cnn, "--dim", "nope=3"],
        "report": ["inspect", cnn, "--report", str(tmp_path / "report.pdf")],
        "no folder": ["simplify", cnn, "-o", str(tmp_path / "no" / "out.onnx")],
        "out is a folder": ["simplify", cnn, "-o", str(tmp_path)],
        "code": ["evaluate", cnn, "--data", calib, "--metric", "json:dumps"],
        "no such code": ["evaluate", cnn, "--data", calib, "--metric", "json:nope", "--allow-code"],
        "metric": ["evaluate", cnn, "--data", calib, "--metric", "topp1"],
        "layers": ["compare", cnn, cnn, "--layers"],
        "no such data": ["evaluate", cnn, "--data", str(tmp_path / "none.npz")],
        "option before the command": ["--json", "inspect", cnn],
        "bare: unknown flag": [cnn, "--colour"],
        "bare: no such file": [str(tmp_path / "none.onnx")],
    }


CASES = sorted(usage_errors("", "", Path()))


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_call_exits_2_with_one_line(run: Run, cnn: str, calib: str, tmp_path: Path, case: str) -> None:
    outcome = run(*usage_errors(cnn, calib, tmp_path)[case])
    assert outcome.code == 2
    lines = outcome.err.strip().splitlines() or outcome.json["error"]["message"].splitlines()
    assert len(lines) <= 2, lines
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("bare") and "before" not in case])
def test_json_says_the_same(run: Run, cnn: str, calib: str, tmp_path: Path, case: str) -> None:
    arguments = usage_errors(cnn, calib, tmp_path)[case]
    people, machines = run(*arguments), run(*arguments, "--json")
    assert machines.code == 2
    assert machines.err == ""
    error = machines.json["error"]
    assert machines.json["status"] == "failed"
    assert machines.json["exit_code"] == 2
    assert people.err.splitlines()[0] == f"error: {error['message']}"
    if error["hint"] is not None:
        assert people.err.splitlines()[1] == f"hint: {error['hint']}"


def test_an_output_that_exists_is_refused_before_any_work(run: Run, cnn: str, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    out.write_bytes(b"precious")
    outcome = run("quantize", cnn, "-o", out, "--data", tmp_path / "never-looked-at.npz")
    assert outcome.code == 2
    assert "exists already" in outcome.err
    assert out.read_bytes() == b"precious"


def test_force_overwrites(run: Run, wide: str, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    out.write_bytes(b"old")
    assert run("simplify", wide, "-o", out, "--force").code == 0
    assert run("validate", out).code == 0


@pytest.mark.parametrize("content", [b"", b"hello, this is text", b"\x08\x08\x3a\xff\xff"])
def test_a_file_that_is_no_model_exits_3_and_writes_nothing(run: Run, tmp_path: Path, content: bytes) -> None:
    broken, out = tmp_path / "broken.onnx", tmp_path / "out.onnx"
    broken.write_bytes(content)
    for arguments in (
        ["validate", broken],
        ["simplify", broken, "-o", out],
        [broken, out],
        ["inspect", broken],
    ):
        outcome = run(*arguments)
        assert outcome.code == 3
        assert "broken.onnx" in outcome.err
    assert not out.exists()


def test_data_that_do_not_fit_exit_3_and_name_the_key(run: Run, cnn: str, tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, image=np.zeros((4, 3, 8, 8), np.float32))
    outcome = run("evaluate", cnn, "--data", data)
    assert outcome.code == 3
    assert "image" in outcome.err


def test_the_same_samples_in_both_sets_exit_3(run: Run, cnn: str, calib: str, tmp_path: Path) -> None:
    outcome = run("quantize", cnn, "-o", tmp_path / "q.onnx", "--data", calib, "--eval-data", calib)
    assert outcome.code == 3
    assert not (tmp_path / "q.onnx").exists()


def test_a_provider_that_is_not_here_exits_4_and_says_what_is_missing(run: Run, cnn: str) -> None:
    outcome = run("validate", cnn, "--provider", "tensorrt")
    if outcome.code == 0:
        pytest.skip("this machine has TensorRT")
    assert outcome.code == 4
    assert "pip install" in outcome.err


def test_a_failed_gate_exits_5_and_leaves_out_alone(run: Run, cnn: str, calib: str, evals: str, tmp_path: Path) -> None:
    out, report = tmp_path / "q.onnx", tmp_path / "why.md"
    out.write_bytes(b"precious")
    arguments = ["optimize", cnn, "-o", out, "--force", "--data", calib, "--eval-data", evals]
    outcome = run(*arguments, "--recipe", "int8", "--placement", "static", "--max-size", "1kB", "--report", report)
    assert outcome.code == 5
    assert "at most 1000 are allowed" in outcome.err
    assert out.read_bytes() == b"precious"
    assert "kB" in report.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["q.onnx", "why.md"]


def test_names_of_files_cannot_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "evil\x1b[31mname.onnx"
    path.write_bytes(b"x")
    outcome = run("validate", path)
    assert outcome.code == 3
    assert "\x1b" not in outcome.err


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_exits_130_and_leaves_nothing_half_written(
    cnn: str, calib: str, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out.onnx"
    out.write_bytes(b"precious")
    command = [
        sys.executable,
        "-m",
        "onnxslim_cli",
        "optimize",
        cnn,
        "-o",
        str(out),
        "--force",
        "--data",
        calib,
        "-v",
    ]

    def heard() -> None:  # whoever runs the tests in the background has SIGINT ignored, and would hand that down
        signal.signal(number, signal.SIG_DFL)

    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=heard) as process:
        assert process.stderr is not None
        first = process.stderr.readline()  # the log's first line: work has begun
        process.send_signal(number)
        _, rest = process.communicate(timeout=120)
    assert process.returncode == 130, first + rest
    assert "interrupted" in rest
    assert out.read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]


@pytest.mark.parametrize("arguments", ["inspect {0} --json", "inspect {0}", "simplify {0} -o {1}", "compare {0} {0}"])
def test_a_reader_that_goes_away_changes_neither_the_work_nor_the_exit_code(
    samples: Path, tmp_path: Path, arguments: str
) -> None:
    out = tmp_path / "out.onnx"
    line = arguments.format(samples / "digits_mlp.onnx", out)
    # The reader is gone before the first line is written, so that every write meets a closed pipe.
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        command = [sys.executable, "-m", "onnxslim_cli", *line.split()]
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "BrokenPipe" not in done.stderr
    assert "error" not in done.stderr
    assert out.exists() == ("-o" in line)


@pytest.mark.parametrize("flag", ["--json", "-v"])
def test_a_terminal_without_unicode_is_no_defect(cnn: str, evals: str, flag: str) -> None:
    command = [sys.executable, "-m", "onnxslim_cli", "evaluate", cnn, cnn, "--data", evals, flag]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert b"digits_cnn.onnx" in done.stdout


def test_python_m_says_what_the_script_says(samples: Path) -> None:
    command = [sys.executable, "-m", "onnxslim_cli", "inspect", str(samples / "nope.onnx"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "usage"


def test_a_model_that_an_old_server_would_not_load_is_not_written(run: Run, cnn: str, tmp_path: Path) -> None:
    out = tmp_path / "s.onnx"
    assert run("validate", cnn, "--for-ort", "1.23").code == 0
    refused = run("simplify", cnn, "-o", out, "--for-ort", "1.17")
    assert refused.code == 4
    assert "onnxruntime 1.17 loads at most" in refused.err
    assert not out.exists()
    assert run("validate", cnn, "--for-ort", "old").code == 2
