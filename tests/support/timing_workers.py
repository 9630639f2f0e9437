"""Workers that time for others: in a thread of this process, or in one of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

from onnxslim.runtime.devices.messages import TOKEN_VARIABLE
from onnxslim.runtime.devices.worker import Worker, listen
from tests.support.paths import ROOT

TOKEN = "of the tests"


@contextlib.contextmanager
def serve_in_thread(token: str = TOKEN) -> Iterator[str]:
    """A worker in this process; its address, ``HOST:PORT``."""
    listener = listen("127.0.0.1", 0)
    port, worker = listener.getsockname()[1], Worker(listener, token)
    thread = threading.Thread(target=worker.serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        worker.close()
        thread.join(10)
        assert not thread.is_alive()


@contextlib.contextmanager
def start_worker_process(*command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A worker in a process of its own, once it listens, and its address; ``command`` is Python's arguments."""
    arguments = command or ("-m", "onnxslim.runtime.devices.worker", "--port", "0")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), TOKEN_VARIABLE: TOKEN}
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        # a shell's background jobs ignore Ctrl-C, and so does what they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "timing at" in line, line
        yield process, line.split("timing at ")[1].split(",")[0]
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
