"""The worker: what is started by hand where models will be served, and times them for a search that runs elsewhere.

It needs onnxruntime, numpy and this package, nothing else of what onnxslim depends on: ``python -m
onnxslim.runtime.devices.worker`` is the same as ``onnxslim worker`` without the command line's own libraries. One search
is served at a time, since two would time each other; who knows the token may run models, and nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from onnxslim.core.cpu_info import count_own_cores, describe_cpu
from onnxslim.core.errors import LimitError, OnnxslimError, UsageError
from onnxslim.core.version import __version__
from onnxslim.runtime.devices.messages import (
    DEFAULT_PORT,
    PROTOCOL,
    TOKEN_VARIABLE,
    ProtocolError,
    answer_challenge,
    is_answer,
    keep_alive,
    read_token,
    receive,
    send,
)
from onnxslim.runtime.devices.serving import can_be_followed, keep_serving, say_ready
from onnxslim.runtime.devices.visit import Visit
from onnxslim.runtime.session_config import version

#: Seconds that whoever connects may take to prove that it knows the token.
_HANDSHAKE_SECONDS = 10.0
#: How long the next one waits before it is told that the worker is busy; shorter than it waits for any answer.
_LEAVE_SECONDS = 2.0
#: How long it waits where nobody can be let in.
_RETRY_SECONDS = 0.1


def describe_device() -> dict[str, str]:
    """What a search wants to know of where it times."""
    return {
        "onnxslim": __version__,
        "onnxruntime": version(),
        **describe_cpu(),
        "system": platform.system(),
        "cores": str(count_own_cores()),
        "machine": platform.machine(),
    }


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at ``host``; ``port`` 0 is any that is free.

    Raises:
        UsageError: It cannot listen there, or ``host`` is empty.
    """
    if not host:  # which the system takes for every address there is
        raise UsageError("--listen: empty, expected an address", hint="0.0.0.0 listens at all of them")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError, UnicodeError) as error:
        told = getattr(error, "strerror", None) or error
        raise UsageError(f"{host}:{port}: {told}", hint="--port 0 takes any that is free") from None


class Worker:
    """Serves one search after another.

    Args:
        listener: From :func:`listen`.
        token: What a search has to know.
    """

    def __init__(self, listener: socket.socket, token: str) -> None:
        self._listener, self._token, self._is_closed = listener, token, False
        self._process = secrets.token_hex(16)  # which no other process has

    def serve(self) -> None:
        """Serve until interrupted, or until :meth:`close`."""
        busy: threading.Thread | None = None
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                if self._is_closed:
                    return
                time.sleep(_RETRY_SECONDS)  # who came has gone again, or the system has no file left for it
                continue
            if busy is not None:
                busy.join(_LEAVE_SECONDS)  # the last one may be on its way out: commands follow one another
            if busy is not None and busy.is_alive():
                with stream:
                    _try_to_refuse(stream, LimitError("the worker times for another search", hint="try again later"))
                continue
            busy = threading.Thread(target=self._serve_one, args=(stream,), daemon=True)
            busy.start()

    def close(self) -> None:
        """Listen no more; who is being served is served to the end."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve_one(self, stream: socket.socket) -> None:
        with stream, tempfile.TemporaryDirectory(prefix="onnxslim-") as folder:
            try:
                keep_alive(stream)
                with _hang_up_after(_HANDSHAKE_SECONDS, stream):
                    if not self._greet(stream):
                        return
                visit = Visit(stream, folder)
                while True:
                    header, blobs = receive(stream)
                    send(stream, *visit.answer(header, blobs))
            except (OSError, EOFError, ProtocolError):
                return  # it has gone, or it is nobody of ours

    def _greet(self, stream: socket.socket) -> bool:
        nonce = secrets.token_hex(16)
        send(stream, {"protocol": PROTOCOL, "nonce": nonce})
        header, _ = receive(stream, greeting=True)
        if not is_answer(header.get("answer"), self._token, nonce, "search"):
            hint = f"{TOKEN_VARIABLE} is to be what the worker was started with, or what it printed then"
            _try_to_refuse(stream, UsageError("the worker was started with another token", hint=hint))
            return False
        proof = answer_challenge(self._token, str(header.get("nonce")), "worker")
        send(stream, {"facts": describe_device(), "answer": proof, "process": self._process})
        return True


@contextlib.contextmanager
def _hang_up_after(seconds: float, stream: socket.socket) -> Iterator[None]:
    """Close ``stream`` under a block that takes longer, however little at a time the other side says."""

    def hang_up() -> None:
        with contextlib.suppress(OSError):
            stream.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _try_to_refuse(stream: socket.socket, error: OnnxslimError) -> None:
    with contextlib.suppress(OSError):
        send(stream, {"error": error.as_json()})


def start_worker(host: str, port: int, announce: Callable[[str], None]) -> None:
    """Listen and serve until interrupted; where, and how to get in, is told to ``announce``. A model that ends the process
    that serves ends no worker, where the system lets another one follow.

    Raises:
        UsageError: It cannot listen there, or the token cannot be read.
        UnsupportedError: The process that serves does not start.
    """
    given = read_token()
    token = given or secrets.token_hex(16)
    listener = listen(host, port)
    before, module_folders = os.getcwd(), [os.path.abspath(entry) for entry in sys.path if entry]
    # one folder for everything that is written, so that nothing stays behind; data of a model that lie outside it would be
    # looked for in the current one, which is empty
    with listener, tempfile.TemporaryDirectory(prefix="onnxslim-", ignore_cleanup_errors=True) as folder:
        tempfile.tempdir, empty = folder, os.path.join(folder, "empty")
        os.mkdir(empty)
        os.chdir(empty)
        bound_host, bound_port = listener.getsockname()[:2]
        address = f"[{bound_host}]" if ":" in bound_host else bound_host
        announce(f"onnxslim {__version__}, onnxruntime {version()}: timing at {address}:{bound_port}, Ctrl-C ends it")
        if given is None:
            announce(f"on the other side: {TOKEN_VARIABLE}={token}")
        try:
            if can_be_followed():
                keep_serving(listener, token, module_folders, announce)
            else:
                Worker(listener, token).serve()
        finally:
            tempfile.tempdir = None
            os.chdir(before)


def serve_inherited(number: int) -> None:
    """Serve at the socket of that ``number``, which listens (:mod:`onnxslim.runtime.devices.serving`)."""
    worker = Worker(socket.socket(fileno=number), read_token() or "")
    say_ready()
    worker.serve()


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m onnxslim.runtime.devices.worker``; the exit code."""
    parser = argparse.ArgumentParser(prog="onnxslim worker", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes any that is free")
    parser.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS", help="this machine alone by default")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was sent is removed then too
    try:
        start_worker(given.listen, given.port, lambda line: _say(sys.stdout, line))
    except OnnxslimError as error:
        _say(sys.stderr, f"error: {error.message}")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _say(stream: Any, line: str) -> None:
    stream.write(line + "\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
