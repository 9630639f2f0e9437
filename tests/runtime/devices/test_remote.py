"""A device elsewhere answers as this machine does, and one that is gone is told."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import socket
import time
from collections.abc import Iterator
from typing import NoReturn

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidModelError, LimitError, UnsupportedError, UsageError
from onnxslim.core.progress import ignore_progress
from onnxslim.model_io import model_file
from onnxslim.model_io.model_file import to_bytes
from onnxslim.runtime import timing
from onnxslim.runtime.devices import connection, remote
from onnxslim.runtime.devices.connection import open_device
from onnxslim.runtime.devices.device import current_device
from onnxslim.runtime.devices.messages import TOKEN_VARIABLE, pack_arrays, send
from onnxslim.runtime.devices.remote import Connection, RemoteDevice
from onnxslim.runtime.memory import measure_peak
from onnxslim.runtime.node_profile import measure_node_times
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import Session, SessionConfig, open_timed_session
from onnxslim.runtime.timing import count_inferences, interleave
from tests.support.digits import FEED
from tests.support.fatal_models import divided_by_an_input, run_outcome
from tests.support.timing_workers import TOKEN, serve_in_thread, start_worker_process

CONFIG = SessionConfig()


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoteDevice]:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    with serve_in_thread() as address, open_device(address) as opened:
        assert opened is not None
        yield opened


def test_it_computes_what_this_machine_does(digits: ir.Model, device: RemoteDevice) -> None:
    there, here = open_timed_session(digits, CONFIG), Session(digits, CONFIG)
    assert (there.inputs, there.outputs, there.provider) == (here.inputs, here.outputs, here.provider)
    found = there.run(FEED)
    for name, array in here.run(FEED).items():
        np.testing.assert_array_equal(found[name], array)
    assert list(there.run(FEED, there.outputs[:1])) == there.outputs[:1]
    assert there.create_seconds > 0
    assert there.time_run(FEED) > 0


def test_its_graphs_and_profiles_are_of_the_same_nodes(digits: ir.Model, device: RemoteDevice) -> None:
    there = [(node.name, node.op_type) for node in read_optimized_graph(digits).graph]
    times = measure_node_times(digits, [FEED], runs=3)
    assert measure_peak(digits, FEED, CONFIG) is None
    device.close()
    assert list(times) == [name for name, _ in there]
    here = Session(digits, CONFIG)
    assert here.run(FEED)
    assert all(time.seconds > 0 for time in times.values())


def test_it_times_in_turn_and_tells_how_far_it_is(digits: ir.Model, device: RemoteDevice) -> None:
    sessions = {name: open_timed_session(digits, CONFIG) for name in "ab"}
    told: list[tuple[str, int, int]] = []
    found = interleave(sessions, [FEED], rounds=6, seconds=1, progress=lambda *said: told.append(said))
    assert list(found.rounds) == ["a", "b"]
    assert (found.provider, found.threads, found.is_processor_time) == ("cpu", 1, True)
    assert told == [("timing", done, 6) for done in range(1, len(found.rounds["a"]) + 1)]
    assert len(count_inferences(sessions["a"], [FEED], concurrency=2, seconds=0.05)) > 1


def test_a_model_travels_once_and_its_sessions_are_let_go(
    digits: ir.Model, device: RemoteDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, object]] = []
    ask = RemoteDevice._ask

    def spy(self: RemoteDevice, operation: str, header: dict[str, object], *more: object) -> object:
        asked.append((operation, list(self.closed)))
        return ask(self, operation, header, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(RemoteDevice, "_ask", spy)
    first = open_timed_session(digits, CONFIG)
    number = first.number  # type: ignore[attr-defined]
    del first
    gc.collect()
    open_timed_session(digits, CONFIG)
    assert asked == [("send_model", []), ("open", []), ("open", [number])]


def test_what_it_refuses_is_told_as_if_it_were_here(digits: ir.Model, device: RemoteDevice) -> None:
    unknown = ir.from_onnx_text("""<ir_version: 8, opset_import: ["" : 17, "no.such" : 1]>
    g (float[1] x) => (float[1] y) { y = no.such.Op(x) }""")
    with pytest.raises((UnsupportedError, InvalidModelError), match=rf"on {device.name}: the runtime refuses .*Op"):
        open_timed_session(unknown, CONFIG)
    with pytest.raises(UnsupportedError, match="a worker loads no code"):
        open_timed_session(digits, CONFIG.with_(custom_ops=("evil.so",)))
    with pytest.raises(UsageError, match="knows no such entry"):
        open_timed_session(digits, CONFIG.with_(session_options={"session.no_such": "1"}))
    with pytest.raises(UsageError, match="running"):
        open_timed_session(digits, CONFIG).run({"image": np.zeros((1, 2), np.float32)})
    assert open_timed_session(digits, CONFIG).run(FEED)  # and it goes on


def test_a_defect_there_is_one_here(digits: ir.Model, device: RemoteDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("there")

    session = open_timed_session(digits, CONFIG)
    monkeypatch.setattr(timing, "_interleave_here", fail)
    with pytest.raises(Exception, match="ZeroDivisionError: there") as caught:
        interleave({"a": session}, [FEED])
    assert getattr(caught.value, "exit_code", None) == 1


GOOD = {"session": 1, "inputs": ["image"], "outputs": ["y"], "seconds": 1.0}
TIMES = {"provider": "cpu", "threads": 1, "is_processor_time": True}


def _time(name: str, *seconds: float) -> tuple[dict[str, object], list[bytes]]:
    described, blobs = pack_arrays({name: np.array(seconds)})
    return {"arrays": described, **TIMES}, blobs


@pytest.mark.parametrize(
    "reply",
    [
        ({}, ()),
        ({"error": {"kind": "gate"}}, ()),
        (GOOD | {"session": "x"}, ()),
        (GOOD | {"inputs": 3}, ()),
        _time("b", 1.0),
        _time("a"),
        _time("a", 1.0, float("nan")),
        _time("a", 1.0, -1.0),
        ({**TIMES, "arrays": 3}, ()),
    ],
)
def test_who_answers_something_else_is_no_worker(digits: ir.Model, reply: tuple[dict[str, object], list[bytes]]) -> None:
    one, other = socket.socketpair()
    with one, other:
        device = RemoteDevice("there", Connection(one, {}))
        device._sent.add(hashlib.sha256(to_bytes(digits)).hexdigest())
        if "arrays" in reply[0]:
            send(other, GOOD)
        send(other, *reply)
        with pytest.raises(LimitError, match="--on there: the worker is gone"):
            device.interleave({"a": device.open_session(digits, CONFIG)}, [FEED], ignore_progress)


def test_one_that_hangs_is_not_waited_for_for_ever(digits: ir.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_SILENCE_SECONDS", 0.1)
    one, other = socket.socketpair()
    with one, other, pytest.raises(LimitError, match=r"the worker is gone \(it said nothing for 0\.1 s\)"):
        RemoteDevice("there", Connection(one, {})).open_session(digits, CONFIG)


@pytest.mark.parametrize(("seconds_left", "waited"), [(None, 900), (10_000, 900), (100, 160), (-50, 60)])
def test_a_deadline_bounds_what_one_request_is_waited_for(
    seconds_left: float | None, waited: float, digits: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(stream: socket.socket, *frame: object) -> NoReturn:
        limits.append(stream.gettimeout())
        raise EOFError

    limits: list[float | None] = []
    monkeypatch.setattr(remote, "send", look)
    one, other = socket.socketpair()
    with one, other:
        device = RemoteDevice("there", Connection(one, {}))
        device.deadline = None if seconds_left is None else time.monotonic() + seconds_left
        with pytest.raises(LimitError):
            device.open_session(digits, CONFIG)
    assert limits == [pytest.approx(waited, abs=30)]


def test_a_model_that_ends_the_process_there_is_told_and_the_next_process_is_asked(
    digits: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    deadly, x = divided_by_an_input(), np.ones((1, 16, 1), np.float32)
    if run_outcome(deadly, {"x": x, "n": np.int64(0)}) >= 0:
        pytest.skip("this runtime does not die of it")
    with start_worker_process() as (_, address), open_device(address) as device:
        assert device is not None
        first, process = open_timed_session(model_file.load(deadly), CONFIG), device.process
        other = open_timed_session(digits, CONFIG)
        with pytest.raises(UnsupportedError, match=f"on {address}: the process of the worker died while it ran a model"):
            first.run({"x": x, "n": np.int64(0)})
        assert device.process != process
        with pytest.raises(UnsupportedError, match="died of another"):
            other.run(FEED)
        del first, other
        gc.collect()
        again = open_timed_session(digits, CONFIG)
        assert open_timed_session(digits, CONFIG).run(FEED)
        assert again.run(FEED), "no session of the process before is closed in this one"


@pytest.mark.parametrize(
    ("process", "facts"), [("same", {}), ("other", {"cpu": "another"})], ids=["a line that broke", "another machine"]
)
def test_who_answers_instead_is_another_process_of_the_same_machine_or_the_device_is_lost(
    process: str, facts: dict[str, str], digits: ir.Model
) -> None:
    one, other = socket.socketpair()
    with one, contextlib.closing(socket.socket()) as stream:
        other.close()
        device = RemoteDevice("there", Connection(one, {}, "same"), lambda: Connection(stream, facts, process))
        for _ in range(2):
            with pytest.raises(LimitError, match="the worker is gone"):
                device.open_session(digits, CONFIG)


def test_one_that_is_killed_is_a_limit_now_and_later(digits: ir.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    monkeypatch.setattr(connection, "RECONNECT_SECONDS", 0.0)
    with start_worker_process() as (process, address), open_device(address) as device:
        sessions = {"a": open_timed_session(digits, CONFIG)}

        def kill(stage: str, done: int, total: int) -> None:
            process.kill()

        for call in (lambda: interleave(sessions, [FEED], seconds=60, rounds=10**6, progress=kill),
                     lambda: open_timed_session(digits, CONFIG)):  # fmt: skip
            with pytest.raises(LimitError, match="the worker is gone") as caught:
                call()
            assert "--study" in str(caught.value.hint)
        assert current_device() is device
    assert current_device() is None


def test_a_device_that_sends_no_model_is_told(digits: ir.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    with serve_in_thread() as address, open_device(address) as device:
        assert device is not None
        monkeypatch.setattr(device, "optimize_graph", lambda model, config: b"no model")
        with pytest.raises(UnsupportedError, match=f"made on {device.name} cannot be read"):
            read_optimized_graph(digits)
