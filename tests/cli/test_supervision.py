"""What ends the process of a command ends in a line and an exit code, and signals find their way."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.fatal_models import divided_by_an_input, run_outcome
from tests.support.paths import ROOT, SAMPLES
from tests.support.python import python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands have a process of their own on Linux alone")

#: A command line whose work is ``work()``.
SUPERVISED = """
import os, signal, sys, time
# whoever runs the tests in the background may have told them not to hear these
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from onnxslim_cli import supervision
def work(): {work}
supervision._run = lambda arguments: work()
sys.exit(supervision.run_supervised(sys.argv[1:]))
"""
#: Dies in a function of a file that is called like the runtime's own, as a trace shows it.
DIE = """
    code = "def {function}(): os.kill(os.getpid(), signal.{name})"
    exec(compile(code, "/x/onnxruntime_inference_collection.py", "exec"), globals())
    {function}()"""


@pytest.mark.parametrize("code", [0, 5, 130])
def test_the_exit_code_is_the_commands(code: int) -> None:
    assert python(SUPERVISED.format(work=f"return {code}")).returncode == code
    assert python(SUPERVISED.format(work=f"sys.exit({code})")).returncode == code


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGFPE", "SIGABRT", "SIGBUS", "SIGILL"])
@pytest.mark.parametrize(("function", "said"), [("run", "ran"), ("_create_inference_session", "loaded")])
def test_a_death_inside_the_runtime_is_exit_4_in_a_line_that_says_of_what(name: str, function: str, said: str) -> None:
    done = python(SUPERVISED.format(work=DIE.format(function=function, name=name)))
    assert done.returncode == 4, done.stderr
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: onnxruntime ")
    assert error.endswith(f"died while it {said} a model: signal {int(signal.Signals[name])} ({name})")
    assert hint.startswith("hint: ")


def test_any_other_death_names_the_signal_and_asks_for_a_report() -> None:
    done = python(SUPERVISED.format(work="os.kill(os.getpid(), signal.SIGSEGV)"), "profile", "m.onnx", "--json")
    assert done.returncode == 4
    answer = json.loads(done.stdout)
    assert (answer["command"], answer["exit_code"], answer["error"]["kind"]) == ("profile", 4, "unsupported")
    assert answer["error"]["message"] == "the process died: signal 11 (SIGSEGV)"
    assert "report" in answer["error"]["hint"]
    debugged = python(SUPERVISED.format(work="os.kill(os.getpid(), signal.SIGSEGV)"), "--debug")
    assert "in work" in debugged.stderr


@pytest.mark.parametrize(("end", "code"), [("return 0", 0), ("os._exit(6)", 6), ("os.kill(os.getpid(), signal.SIGSEGV)", 4)])
def test_temporary_files_go_with_the_command_however_it_ends(
    end: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    write = "import tempfile; open(os.path.join(tempfile.mkdtemp(), 'model.onnx'), 'w').write('x')"
    assert python(SUPERVISED.format(work=f"{write}; {end}")).returncode == code
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [0, 5])
@pytest.mark.parametrize("options", [[], ["--quiet"], ["--json"]])
def test_a_death_after_all_was_done_changes_no_exit_code(code: int, options: list[str]) -> None:
    """As of what libraries clear away while the interpreter ends."""
    late = f"import atexit; atexit.register(os.kill, os.getpid(), signal.SIGSEGV); print('done'); return {code}"
    done = python(SUPERVISED.format(work=late), *options)
    assert done.returncode == code
    assert done.stdout == "done\n"
    told = ["warning: the command was done, then its process died: signal 11 (SIGSEGV)"]
    assert done.stderr.splitlines() == ([] if options == ["--quiet"] else told)


#: A command that does three things one after another, of which the second ends the process, and says how long it began ago.
ATTEMPTS = """
    import time
    from onnxslim.core.attempts import attempt, find_start
    from onnxslim.core.errors import OnnxslimError
    began, told = find_start('work'), []
    for name in {names!r}:
        try:
            with attempt(name, name):
                if name in {fatal!r}:
                    time.sleep(0.05)
                    os.kill(os.getpid(), signal.SIGFPE)
                told.append(name)
        except OnnxslimError as error:
            told.append(error.message)
    print(told, time.monotonic() - began >= 0.05)
    return 0"""


def test_what_ends_the_process_in_an_attempt_is_left_out_and_the_command_goes_on() -> None:
    done = python(SUPERVISED.format(work=ATTEMPTS.format(names=["a", "b", "c"], fatal=["b"])))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['a', 'the process died: signal 8 (SIGFPE)', 'c'] True\n"
    assert done.stderr == "b: the process died: signal 8 (SIGFPE); going on without it\n"


def test_where_every_attempt_ends_the_process_so_does_the_command() -> None:
    done = python(SUPERVISED.format(work=ATTEMPTS.format(names=["a", "b", "c"], fatal=["a", "b", "c"])))
    assert done.returncode == 4
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["a", "error", "hint"]


#: ``optimize`` of three candidates. The one with int8 activations ends the process while it is carried out or, where that is
#: ``shown``, int8 weights do on the confirm data.
DEADLY_SEARCH = """
import os, signal, sys
from onnxslim_cli import supervision
run = supervision._run
def prepare(arguments):
    from onnxslim.pipeline.attempt import Attempt
    from onnxslim.search import search_loop
    from onnxslim.search.candidate import Candidate
    three = [Candidate(scheme=scheme) for scheme in (None, "weights", "int8")]
    search_loop.choose_next_candidate = lambda tried, *rest: three[len(tried)] if len(tried) < 3 else None
    apply, confirm = Attempt.apply, Attempt.confirm
    def is_int8(attempt, weights):
        return attempt.recipe.steps[-1].name == "quantize" and attempt.recipe.steps[-1].options.weights == weights
    def die_of(original, weights, shown):
        def die(attempt, **options):
            if is_int8(attempt, weights) and {shown} == shown:
                os.kill(os.getpid(), signal.SIGSEGV)
            return original(attempt, **options)
        return die
    Attempt.apply, Attempt.confirm = die_of(apply, None, False), die_of(confirm, "int8", True)
    return run(arguments)
supervision._run, parent = prepare, os.getpid()
code = supervision.run_supervised(sys.argv[1:])
assert os.getpid() != parent or "onnxruntime" not in sys.modules, "a fork after it was imported is not safe"
sys.exit(code)
"""


@pytest.mark.parametrize("shown", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_a_search_goes_on_without_the_candidate_that_ends_the_process(shown: bool, tmp_path: Path) -> None:
    out = tmp_path / "o.onnx"
    options = ["--placement", "static", "--max-samples", "40", "--json"]
    data = ["--data", SAMPLES / "digits_calib.npz", "--eval-data", SAMPLES / "digits_eval.npz"]
    words = ["optimize", SAMPLES / "digits_mlp.onnx", "-o", out, *data, *options]
    done = python(DEADLY_SEARCH.replace("{shown}", str(shown)), *map(str, words))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert out.exists()
    name = "int8 weights" if shown else "int8"
    candidates = {entry["name"]: entry for entry in report["candidates"]}
    assert [entry["error"] is not None for entry in candidates.values() if entry["name"] == name] == [True]
    assert "the process died: signal 11 (SIGSEGV)" in candidates[name]["verdict"]
    assert report["chosen"] != name
    assert f"{name}{' on the confirm data' if shown else ''}: the process died" in done.stderr


def test_where_no_process_can_be_had_the_command_runs_in_the_one_that_is_there() -> None:
    refuse = "import os\ndef refuse(): raise BlockingIOError(11, 'Resource temporarily unavailable')\nos.fork = refuse\n"
    blocked = SUPERVISED.format(work="return 40 + len(signal.pthread_sigmask(signal.SIG_BLOCK, []))")
    assert python(refuse + blocked).returncode == 40


def test_what_the_system_kills_ran_out_of_memory() -> None:
    done = python(SUPERVISED.format(work="os.kill(os.getpid(), signal.SIGKILL)"))
    assert done.returncode == 6
    assert "memory" in done.stderr.splitlines()[0]


@contextlib.contextmanager
def working(prepare: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A supervised command that has done ``prepare`` and goes on, and the process that does it."""
    begun = tmp_path / "begun"
    started = f"{prepare}; open({str(begun)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    command = [sys.executable, "-c", SUPERVISED.format(work=started)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True) as process:
        try:
            while not (begun.exists() and begun.read_text()):
                assert process.poll() is None
                time.sleep(0.01)
            yield process, int(begun.read_text())
        finally:
            process.kill()


#: A command whose process dies in an attempt; a signal comes before the next one is there: while it is told, or later.
INTERRUPTED = """
import os
before, signal_number = {{"_can_go_on": (supervision, "_can_go_on"), "fork": (os, "fork")}}[{moment!r}], signal.{name}
original, calls = getattr(*before), []
def interrupt(*given):
    calls.append(given)
    if {moment!r} == "_can_go_on" or len(calls) == 2:
        os.kill(os.getpid(), signal_number)
    return original(*given)
setattr(*before, interrupt)
def work():
    from onnxslim.core.attempts import attempt, is_successor
    if is_successor():
        time.sleep({seconds})
        return 33
    with attempt("a", "a"):
        os.kill(os.getpid(), signal.SIGSEGV)
supervision._run = lambda arguments: work()
sys.exit(supervision.run_supervised(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("moment", "name", "code"),
    [
        ("_can_go_on", "SIGINT", 130),
        ("_can_go_on", "SIGTERM", 130),
        ("_can_go_on", "SIGHUP", -signal.SIGHUP),
        ("fork", "SIGINT", 130),
        ("fork", "SIGHUP", -signal.SIGHUP),
    ],
)
def test_a_signal_between_two_processes_ends_the_command(moment: str, name: str, code: int) -> None:
    setup, _ = SUPERVISED.split("def work()")
    done = python(setup + INTERRUPTED.format(moment=moment, name=name, seconds=60))
    assert done.returncode == code, done.stderr
    told, *rest = done.stderr.splitlines()
    assert told == "a: the process died: signal 11 (SIGSEGV); going on without it"
    assert rest == (["error: interrupted"] if code == 130 else [])


def test_a_signal_that_the_command_was_told_not_to_hear_ends_nothing() -> None:
    setup, _ = SUPERVISED.split("def work()")
    ignoring = setup + "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    assert python(ignoring + INTERRUPTED.format(moment="_can_go_on", name="SIGHUP", seconds=0)).returncode == 33


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_goes_on_to_the_command_which_decides(name: str, tmp_path: Path) -> None:
    with working(f"signal.signal(signal.{name}, lambda *_: os._exit(33))", tmp_path) as (process, _):
        process.send_signal(signal.Signals[name])
        assert process.wait(30) == 33


def test_a_signal_that_nobody_handles_ends_both_as_it_would_have_ended_one(tmp_path: Path) -> None:
    with working("pass", tmp_path) as (process, child):
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
        assert is_gone(child)


def test_the_command_does_not_outlive_who_waits_for_it(tmp_path: Path) -> None:
    with working("pass", tmp_path) as (process, child):
        process.kill()
        process.wait(30)
        assert is_gone(child)


def is_gone(number: int) -> bool:
    """Whether a process has ended, which may take its moment."""
    for _ in range(1000):
        try:
            with open(f"/proc/{number}/stat", encoding="utf-8") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


COMMANDS = ["profile", "benchmark", "evaluate", "compare", "quantize", "prune", "optimize"]


@pytest.mark.parametrize(
    "command", [pytest.param(c, marks=() if c == "evaluate" else pytest.mark.nightly) for c in COMMANDS]
)
def test_a_model_that_ends_the_runtime_when_it_runs_is_exit_4(command: str, tmp_path: Path) -> None:
    """The first sample is one that it runs with: nothing that looks at that alone can tell."""
    model, data, out = tmp_path / "m.onnx", tmp_path / "d.npz", tmp_path / "o.onnx"
    model.write_bytes(divided_by_an_input())
    x = np.random.default_rng(0).normal(size=(40, 16, 1)).astype(np.float32)
    feeds = {"x": x, "n": np.arange(40) % 2 ^ 1}
    np.savez(data, **feeds)
    if run_outcome(divided_by_an_input(), {"x": feeds["x"][:1], "n": feeds["n"][-1]}) >= 0:
        pytest.skip("this runtime does not die of it")
    arguments = {
        "evaluate": [model], "compare": [model],
        "quantize": ["-o", out], "optimize": ["-o", out], "prune": ["-o", out, "--remove", "30%"],
    }.get(command, [])  # fmt: skip
    command_line = [sys.executable, "-m", "onnxslim_cli", command, model, *arguments, "--data", data]
    done = subprocess.run([str(a) for a in command_line], capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert "died while it ran a model: signal 8 (SIGFPE)" in done.stderr
    assert not out.exists()
