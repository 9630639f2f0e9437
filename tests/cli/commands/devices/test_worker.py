"""``--on``: the search runs here, and every time is another process's."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from onnxslim.runtime import node_profile, timing
from onnxslim.runtime.devices import connection
from onnxslim.runtime.devices.messages import TOKEN_VARIABLE
from onnxslim.runtime.node_profile import NodeTime
from onnxslim.runtime.timing import Timing
from onnxslim.search import search_loop, study
from onnxslim.search.candidate import Candidate
from tests.support.timing_workers import TOKEN, serve_in_thread, start_worker_process

Run = Callable[..., "object"]


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Times that depend on names alone, in this process and in a worker's thread; who asked for them."""
    asked: list[str] = []

    def interleave(sessions: Mapping[str, object], *_: object, **__: object) -> Timing:
        asked.extend(type(session).__name__ for session in sessions.values())
        slow = ("float", "original", "0")
        return Timing({name: np.full(9, 4e-3 if name in slow else 1e-3 + 1e-6 * len(name)) for name in sessions}, "cpu", 1)

    def summarize(events: Sequence[Mapping[str, object]], warmup: int) -> dict[str, NodeTime]:
        names = dict.fromkeys(str(event["name"]) for event in events if str(event.get("name")).endswith("_kernel_time"))
        times = {}
        for index, name in enumerate(names):
            key = name.removesuffix("_kernel_time")
            times[key] = NodeTime(key, "", "CPUExecutionProvider", 1e-6 * (1 + index % 5))
        return times

    monkeypatch.setattr(timing, "_interleave_here", interleave)
    monkeypatch.setattr(node_profile, "summarize_events", summarize)
    return asked


def test_a_search_timed_there_ends_with_the_bytes_of_one_that_was_timed_here(
    run: Run, cnn: str, calib: str, evals: str, tmp_path: Path, recorded: list[str]
) -> None:
    call = ["optimize", cnn, "--data", calib, "--eval-data", evals, "--max-samples", 64, "--recipe", "int8", "--json"]
    here = run(*call, "-o", tmp_path / "here.onnx")
    assert here.code == 0, here.out
    assert set(recorded) == {"Session"}
    recorded.clear()
    with serve_in_thread() as address:
        there = run(*call, "-o", tmp_path / "there.onnx", "--on", address)
    assert there.code == 0, there.out
    assert set(recorded) == {"RawSession"}
    assert (tmp_path / "there.onnx").read_bytes() == (tmp_path / "here.onnx").read_bytes()
    assert there.json["timed_on"]["address"] == address
    assert address in there.json["measured"]["latency"]
    assert there.json["recipe"] == here.json["recipe"]


def test_a_worker_that_is_killed_ends_the_search_with_the_study_whole(
    run: Run, cnn: str, calib: str, evals: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RECONNECT_SECONDS", 0.0)
    folder, out = tmp_path / "study", tmp_path / "out.onnx"
    call = ["optimize", cnn, "--data", calib, "--eval-data", evals, "--max-samples", 40, "-o", out, "--study", folder]
    add = study.Study.add
    with start_worker_process() as (process, address):

        def add_and_kill(self: study.Study, *arguments: object) -> None:
            add(self, *arguments)  # type: ignore[arg-type]
            process.kill()
            process.wait()

        monkeypatch.setattr(study.Study, "add", add_and_kill)
        lost = run(*call, "--on", address, "--budget", "60s")
    assert lost.code == 6
    assert "the worker is gone" in lost.err
    assert not out.exists()
    monkeypatch.setattr(study.Study, "add", add)
    with sqlite3.connect(folder / "study.sqlite") as database:
        ((kept,),) = database.execute("SELECT COUNT(*) FROM trials")
    assert kept == 1
    with start_worker_process("-m", "onnxslim_cli", "worker", "--port", "0") as (_, again):
        resumed = run(*call, "--on", again, "-v", "--budget", "4s")
    assert resumed.code == 0, resumed.err
    assert "known from the study" in resumed.err
    elsewhere = run(*call, "--force", "--budget", "4s")
    assert elsewhere.code == 2
    assert "another place" in elsewhere.err


#: A worker whose process dies of every model that quantises activations, as a kernel can end it.
DEADLY_WORKER = """
from onnxslim.runtime.devices import serving, worker
serving._SERVING = serving._SERVING.replace("serve_inherited(int", '''
import signal
from onnxslim.runtime.devices.visit import Visit
start = Visit._start
def die_of_int8(visit, header, **files):
    with open(visit._find_model(header), "rb") as file:
        if b"QuantizeLinear" in file.read():
            os.kill(os.getpid(), signal.SIGSEGV)
    return start(visit, header, **files)
Visit._start = die_of_int8
serve_inherited(int''')
worker.main(["--port", "0"])
"""


def test_a_candidate_that_ends_the_workers_process_is_left_out_and_the_search_goes_on(
    run: Run, cnn: str, calib: str, evals: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = [Candidate(scheme=scheme) for scheme in (None, "int8", "weights")]
    monkeypatch.setattr(search_loop, "choose_next_candidate", lambda tried, *_: [*three, None][len(tried)])
    call = ["optimize", cnn, "--data", calib, "--eval-data", evals, "--max-samples", 40, "--budget", "60s"]
    with start_worker_process("-c", DEADLY_WORKER) as (_, address):
        done = run(*call, "-o", tmp_path / "out.onnx", "--placement", "static", "--json", "--on", address)
    assert done.code == 0, done.out
    errors = {entry["name"]: entry["error"] for entry in done.json["candidates"]}
    assert errors["int8"] == f"on {address}: the process of the worker died while it loaded a model"
    assert (errors["lossless"], errors["int8 weights"]) == (None, None)
    assert done.json["chosen"] != "int8"


def test_what_can_time_there_does(run: Run, cnn: str, evals: str, calib: str, tmp_path: Path, recorded: list[str]) -> None:
    with serve_in_thread() as address:
        for call in (
            ["benchmark", cnn, "--data", evals],
            ["profile", cnn, "--data", evals],
            ["simplify", cnn, "--data", evals, "-o", tmp_path / "simplified.onnx"],
            ["verify", cnn, "--against", cnn, "--data", evals],
            ["prune", cnn, "--data", calib, "--remove", "10%", "--of", "macs", "-o", tmp_path / "pruned.onnx"],
        ):
            outcome = run(*call, "--max-samples", 40, "--on", address, "--json")
            assert outcome.code == 0, outcome.out
            assert outcome.json["timed_on"]["address"] == address
    assert set(recorded) == {"RawSession"}


def test_a_gate_that_failed_says_whose_times_it_read(
    run: Run, cnn: str, evals: str, tmp_path: Path, recorded: list[str]
) -> None:
    receipt = tmp_path / "receipt.json"
    with serve_in_thread() as address:
        call = ["verify", cnn, "--against", cnn, "--data", evals, "--max-samples", 40, "--min-speedup", 100]
        assert run(*call, "--on", address, "-o", receipt).code == 5
    assert json.loads(receipt.read_text())["timed_on"]["address"] == address


def test_nobody_there_another_token_and_workers_beside_are_told_in_a_line(
    run: Run, cnn: str, calib: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ["optimize", cnn, "--data", calib, "-o", tmp_path / "out.onnx", "--on"]
    assert run(*call, "127.0.0.1:1").code == 4
    assert run(*call, "nowhere:x").code == 2
    with serve_in_thread() as address:
        outcome = run(*call, address, "--jobs", 2)
        assert outcome.code == 2
        assert "one of them" in outcome.err
        monkeypatch.setenv(TOKEN_VARIABLE, "another")
        assert run(*call, address).code == 2
