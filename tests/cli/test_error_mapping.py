"""Every way to end badly is one typed error with its exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnxslim.core.errors import (
    DefectError,
    GateError,
    InconclusiveError,
    InvalidDataError,
    InvalidModelError,
    LimitError,
    LostWorkerError,
    NothingGainedError,
    OnnxslimError,
    TimeLimitError,
    UnsupportedError,
    UsageError,
)
from onnxslim_cli import app, step_command

Run = Callable[..., "object"]
ERRORS = {
    UsageError("u", hint="h"): 2,
    InvalidModelError("m"): 3,
    InvalidDataError("d"): 3,
    UnsupportedError("s"): 4,
    NothingGainedError("n"): 4,
    DefectError("d"): 1,
    GateError("g"): 5,
    InconclusiveError("i"): 7,
    LimitError("l"): 6,
    LostWorkerError("w"): 6,
    TimeLimitError("t"): 6,
    MemoryError(): 6,
    OSError(28, "No space left on device"): 6,
    BlockingIOError(11, "Resource temporarily unavailable"): 6,  # no process more
    PermissionError(13, "Permission denied", "out.onnx"): 2,
    KeyboardInterrupt(): 130,
    ZeroDivisionError("division by zero"): 1,
}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("json_too", [False, True])
def test_every_error_has_its_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, cnn: str, tmp_path: Path, error: BaseException, json_too: bool
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(step_command, "run_recipe", fail)
    outcome = run("simplify", cnn, "-o", tmp_path / "out.onnx", *(["--json"] if json_too else []))
    assert outcome.code == ERRORS[error]
    assert "Traceback" not in outcome.err
    if json_too:
        assert outcome.json["exit_code"] == ERRORS[error]
        assert outcome.json["command"] == "simplify"
    else:
        assert outcome.out == ""


def test_a_defect_says_so_and_shows_its_traceback_only_on_demand(
    run: Run, monkeypatch: pytest.MonkeyPatch, cnn: str
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(app, "_dispatch", fail)
    assert "defect of onnxslim: IndexError" in run("inspect", cnn).err
    assert "Traceback" in run("inspect", cnn, "--debug").err


def test_every_typed_error_is_covered_here() -> None:
    assert {type(error) for error in ERRORS} >= set(OnnxslimError.__subclasses__()) - _of_cli()


def _of_cli() -> set[type]:
    return {kind for kind in OnnxslimError.__subclasses__() if kind.__module__.startswith("onnxslim_cli")}


@pytest.mark.parametrize(("command", "option"), [("quantize", "-o"), ("verify", "--against")])
def test_a_second_model_is_told_the_option_that_takes_it(
    run: Callable[..., Any], cnn: str, command: str, option: str
) -> None:
    outcome = run(command, cnn, "b.onnx")
    assert outcome.code == 2
    assert f"goes behind {option}: {option} b.onnx" in outcome.err
