"""A worker as it is started by hand."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxslim.core.errors import UsageError
from onnxslim.runtime.devices import worker
from onnxslim.runtime.devices.connection import open_device
from onnxslim.runtime.devices.messages import TOKEN_VARIABLE, receive
from onnxslim.runtime.devices.worker import listen, main
from tests.support.python import python
from tests.support.timing_workers import TOKEN, serve_in_thread, start_worker_process


def test_it_needs_the_runtime_and_numpy_and_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "import numpy, onnxruntime; known = set(sys.modules)\n"
        "import onnxslim.runtime.devices.worker\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - known}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    assert python(code).stdout.strip() == "['onnxslim']"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ending: signal.Signals
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with start_worker_process() as (process, address):
        with open_device(address) as device:
            assert device is not None
            assert set(device.facts) == {"onnxslim", "onnxruntime", "cpu", "flags", "system", "machine", "cores"}
        process.send_signal(ending)
        assert process.wait(60) == 130
    assert list(tmp_path.glob("onnxslim-*")) == []


def test_an_address_that_is_taken_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(UsageError, match=f"127.0.0.1:{port}: "):
            listen("127.0.0.1", port)
        assert main(["--port", str(port)]) == 2
    assert capsys.readouterr().err.startswith("error: 127.0.0.1:")
    assert main(["--port", "0", "--listen", ""]) == 2
    assert capsys.readouterr().err.startswith("error: --listen: empty")
    assert main(["--port", "99999"]) == 2
    assert capsys.readouterr().err.startswith("error: 127.0.0.1:99999: ")


@pytest.fixture
def greeted() -> Iterator[tuple[str, socket.socket]]:
    """The address of a worker, and a stranger who has been asked for the token there."""
    with serve_in_thread() as address:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as stream:
            assert "nonce" in receive(stream)[0]
            yield address, stream


def test_who_says_too_little_too_slowly_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(worker, "_HANDSHAKE_SECONDS", 0.3)
    _, stream = request.getfixturevalue("greeted")
    stream.sendall(struct.pack("!4sI", b"OSW1", 100))
    sent = 0
    with contextlib.suppress(OSError):
        while sent < 30:
            stream.sendall(b" ")
            sent += 1
            time.sleep(0.1)
    assert sent < 30


@pytest.mark.parametrize("header", [{"answer": "\ud800"}, {"answer": "x", "blobs": [1 << 31]}, {}])
def test_a_stranger_is_refused_and_the_next_is_served(
    greeted: tuple[str, socket.socket], header: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, stream = greeted
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    text = json.dumps({"blobs": [], **header}).encode()
    stream.sendall(struct.pack("!4sI", b"OSW1", len(text)) + text)
    with contextlib.suppress(EOFError, OSError):
        assert "error" in receive(stream)[0]
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    with open_device(address) as device:
        assert device is not None
    assert not raised


def test_one_that_goes_before_it_is_let_in_ends_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    monkeypatch.setattr(worker, "_RETRY_SECONDS", 0.0)
    gone = [ConnectionAbortedError(), OSError(24, "Too many open files")]
    accept = socket.socket.accept

    def try_to_accept(self: socket.socket) -> tuple[socket.socket, object]:
        if gone:
            raise gone.pop()
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", try_to_accept)
    with serve_in_thread() as address, open_device(address) as device:
        assert device is not None
        assert not gone
