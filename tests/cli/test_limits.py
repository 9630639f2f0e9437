"""``--timeout``, ``--max-memory``, ``--allow-hardlinks``, ``--custom-ops``: what a command may take, and whom it trusts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim.core.errors import LimitError
from onnxslim_cli import limits

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy this process may be slow to answer, which must not be the end of it."""
    monkeypatch.setattr(limits, "GRACE_SECONDS", 300)


def busy(*_: object, **__: object) -> None:
    while True:
        time.sleep(0.01)


def greedy(*_: object, **__: object) -> None:
    held = []
    while len(held) < 200:  # 1.6 GB, where nobody stops it
        held.append(np.ones(1 << 20))
        time.sleep(0.01)


@pytest.mark.parametrize("form", ["command", "bare"])
@pytest.mark.parametrize(
    ("work", "option", "said"), [(busy, ("--timeout", "0.2s"), "--timeout"), (greedy, None, "--max-memory")]
)
def test_more_than_may_be_ends_with_6_and_leaves_out_alone(
    run: Run,
    cnn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    work: Callable[..., None],
    option: tuple[str, str] | None,
    said: str,
) -> None:
    from onnxslim_cli import legacy
    from onnxslim_cli.commands import simplify

    monkeypatch.setattr(simplify, "run_step", work)
    monkeypatch.setattr(legacy, "rewrite", work)
    out = tmp_path / "out.onnx"
    out.write_bytes(b"precious")
    option = option or ("--max-memory", str(limits.measure_held_bytes() + 50_000_000))
    call = ("simplify", cnn, "-o", out, "--force") if form == "command" else (cnn, out)
    outcome = run(*call, *option)
    assert outcome.code == 6
    assert said in outcome.err
    assert out.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["out.onnx"]


def test_enough_of_both_changes_nothing(run: Run, wide: str, tmp_path: Path) -> None:
    out, other = tmp_path / "out.onnx", tmp_path / "other.onnx"
    assert run(wide, out, "--timeout", "5m", "--max-memory", "20GB").code == 0
    assert run(wide, other).code == 0
    assert out.read_bytes() == other.read_bytes()


def test_the_limit_is_said_as_json(run: Run, cnn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxslim_cli.commands import inspect

    monkeypatch.setattr(inspect, "look", busy)
    assert run("inspect", cnn, "--json", "--timeout", "0.1s").json["error"]["kind"] == "limit"


def test_a_real_interrupt_is_not_taken_for_a_limit(run: Run, cnn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxslim_cli.commands import inspect

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inspect, "look", interrupted)
    assert run("inspect", cnn, "--timeout", "1h").code == 130


def test_what_does_not_answer_is_ended_from_outside(cnn: str) -> None:
    """Native code that does not come back to Python, as a long inference: here, a wait that takes no interrupt."""
    code = (
        "import signal, sys, time\n"
        "from onnxslim_cli import limits\n"
        "from onnxslim_cli.commands import inspect\n"
        "from onnxslim_cli.main import main\n"
        "limits.GRACE_SECONDS = 0.2\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"
        "inspect.look = lambda *_, **__: time.sleep(60)\n"
        f"main(['inspect', {cnn!r}, '--json', '--timeout', '0.2s'])\n"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 6, done.stderr
    assert json.loads(done.stdout)["error"]["kind"] == "limit"
    assert time.monotonic() - started < 30


def test_a_command_in_the_background_of_a_script_keeps_to_its_limits(cnn: str) -> None:
    """A shell without job control starts those with SIGINT ignored; what is not a limit stays ignored."""
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from onnxslim_cli import limits\n"
        "from onnxslim_cli.commands import inspect\n"
        "from onnxslim_cli.main import main\n"
        "limits.GRACE_SECONDS = 300\n"
        "def look(*_, **__):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "inspect.look = look\n"
        f"try: sys.exit(main(['inspect', {cnn!r}, '--json', '--timeout', '0.2s']))\n"
        "finally: assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 6, done.stderr
    assert json.loads(done.stdout)["error"]["kind"] == "limit"
    assert time.monotonic() - started < 55


@pytest.mark.parametrize("form", ["command", "bare"])
def test_a_time_or_size_that_means_nothing_is_a_usage_error(run: Run, cnn: str, form: str) -> None:
    first = ("inspect",) if form == "command" else ()
    for option, value in (("--timeout", "soon"), ("--max-memory", "lots")):
        outcome = run(*first, cnn, option, value)
        assert outcome.code == 2
        assert value in outcome.err


def test_a_process_deaf_to_interrupts_hears_its_limits_and_nothing_else() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with limits.enforce_limits(60, None, pytest.fail):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(LimitError, match=r"0\.05 s"), limits.enforce_limits(0.05, None, pytest.fail):
            busy()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_does_not_end_by_itself_says_why_and_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    monkeypatch.setattr(limits, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr(limits, "_interrupt", lambda thread: None)
    monkeypatch.setattr(limits.os, "_exit", said.append)

    def deaf() -> None:
        while len(said) < 2:
            time.sleep(0.01)

    with pytest.raises(LimitError), limits.enforce_limits(0.05, None, said.append):
        deaf()
    assert isinstance(said[0], LimitError)
    assert said[1] == LimitError.exit_code


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1), ("win32", 0)])
def test_memory_is_told_without_proc_where_the_system_tells_it(
    monkeypatch: pytest.MonkeyPatch, platform: str, unit: int
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    import resource

    monkeypatch.setattr(limits, "open", missing, raising=False)
    monkeypatch.setattr(limits.sys, "platform", platform)
    assert limits.measure_held_bytes() == unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_windows_interrupts_by_raising_the_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.sys, "platform", "win32")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts behind it ignores the signal
    try:
        with pytest.raises(KeyboardInterrupt):
            limits._interrupt(0)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_watched_block_that_ends_in_time_is_left_alone() -> None:
    with limits.enforce_limits(60, 1 << 50, pytest.fail):
        pass
    with pytest.raises(ZeroDivisionError), limits.enforce_limits(60, None, pytest.fail):
        1 / 0  # noqa: B018
    with pytest.raises(LimitError, match=r"0\.05 s"), limits.enforce_limits(0.05, None, pytest.fail):
        busy()
