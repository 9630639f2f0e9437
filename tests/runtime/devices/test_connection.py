"""Whom a search does not take for its device."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from onnxslim.core.errors import LimitError, UnsupportedError, UsageError
from onnxslim.runtime.devices import connection, messages, worker
from onnxslim.runtime.devices.connection import open_device
from onnxslim.runtime.devices.messages import TOKEN_VARIABLE
from tests.support.timing_workers import TOKEN, serve_in_thread


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(UnsupportedError, match=rf"--on 127.0.0.1:{port}: no worker answers \(Connection refused"):
        open_device(f"127.0.0.1:{port}").__enter__()


@pytest.fixture(params=[b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"SSH-2.0-OpenSSH_9.2\r\n"])
def stranger(request: pytest.FixtureRequest) -> Iterator[str]:
    """Another service; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            stream, _ = server.accept()
            with stream:
                stream.sendall(request.param)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_somebody_else_answers(stranger: str) -> None:
    with pytest.raises(UnsupportedError, match="no worker answers"):
        open_device(stranger).__enter__()


@pytest.mark.parametrize("host", ["a..b", "a" * 70 + ".b"])
def test_a_name_that_no_host_can_have(host: str) -> None:
    with pytest.raises(UnsupportedError, match="no worker answers"):
        open_device(f"{host}:7117").__enter__()


def test_one_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(UnsupportedError, match="timed out"):
        open_device(f"127.0.0.1:{server.getsockname()[1]}").__enter__()


def test_another_token_and_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_in_thread("another") as address:
        with pytest.raises(UsageError, match="another token"):
            open_device(address).__enter__()
        monkeypatch.delenv(TOKEN_VARIABLE)
        with pytest.raises(UsageError, match="no token given"):
            open_device(address).__enter__()


@pytest.mark.parametrize("echoes", [True, False])
def test_a_worker_that_does_not_know_the_token_is_believed_nothing(echoes: bool) -> None:
    """Whoever holds the port could say any time; what it was told itself proves nothing when it says that again."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def claim() -> None:
            stream, _ = server.accept()
            with stream:
                messages.send(stream, {"protocol": messages.PROTOCOL, "nonce": "n"})
                header, _ = messages.receive(stream, greeting=True)
                proof = {"answer": header["answer"]} if echoes else {}
                messages.send(stream, {"facts": worker.describe_device(), **proof})

        thread = threading.Thread(target=claim)
        thread.start()
        with pytest.raises(UsageError, match="does not know the token"):
            open_device(f"127.0.0.1:{server.getsockname()[1]}").__enter__()
        thread.join()


def test_the_token_never_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    send_all = messages.send

    def spy(stream: socket.socket, header: dict[str, object], *more: object) -> None:
        sent.append(repr(header).encode())
        send_all(stream, header, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(connection, "send", spy)
    monkeypatch.setattr(worker, "send", spy)
    with serve_in_thread() as address, open_device(address):
        pass
    assert sent
    assert not any(TOKEN.encode() in text for text in sent)


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"onnxslim": "0.0"}, "the worker has onnxslim 0.0"),
        ({"onnxruntime": "1.0.0"}, "the worker has onnxruntime 1.0.0"),
    ],
)
def test_another_version(monkeypatch: pytest.MonkeyPatch, facts: dict[str, str], told: str) -> None:
    real = worker.describe_device()
    monkeypatch.setattr(worker, "describe_device", lambda: real | facts)
    with serve_in_thread() as address, pytest.raises(UnsupportedError, match=told):
        open_device(address).__enter__()


def test_another_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PROTOCOL", 0)
    with serve_in_thread() as address, pytest.raises(UnsupportedError, match="another onnxslim"):
        open_device(address).__enter__()


def test_a_worker_serves_one_at_a_time_and_then_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_LEAVE_SECONDS", 0.1)
    with serve_in_thread() as address:
        with open_device(address), pytest.raises(LimitError, match="times for another search"):
            open_device(address).__enter__()
        monkeypatch.setattr(worker, "_LEAVE_SECONDS", 10.0)
        with open_device(address) as again:
            assert again is not None
