"""A process that serves and dies is followed by another, and none outlives the worker."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from onnxslim.core.errors import UnsupportedError
from onnxslim.runtime.devices import serving
from onnxslim.runtime.devices.serving import can_be_followed, keep_serving
from onnxslim.runtime.devices.worker import listen
from tests.support.timing_workers import start_worker_process

pytestmark = pytest.mark.skipif(not can_be_followed(), reason="sockets go to another process on POSIX alone")


def serve(script: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is announced where each process that serves is ``script``."""
    monkeypatch.setattr(serving, "_SERVING", script)
    told: list[str] = []
    with listen("127.0.0.1", 0) as listener:
        keep_serving(listener, "token", sys.path, told.append)
    return told


@pytest.mark.parametrize(
    ("death", "told_as"),
    [("os.kill(os.getpid(), signal.SIGSEGV)", "signal 11 (SIGSEGV)"), ("os._exit(3)", "exit code 3")],
    ids=["signal", "exit"],
)
def test_one_that_dies_is_followed_until_one_ends_by_itself(
    death: str, told_as: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    script = f"""
import os, signal, socket, sys, tempfile
listener = socket.socket(fileno=int(sys.argv[1]))
open(os.path.join(tempfile.mkdtemp(), "left"), "w").close()
with open({str(tmp_path / "begun")!r}, "a") as file:
    file.write(f"{{listener.getsockname()[1]}} {{os.environ['ONNXSLIM_TOKEN']}}\\n")
    count = file.tell()
print("ready", flush=True)
if count < 30:
    {death}
"""
    told = serve(script, monkeypatch)
    begun = (tmp_path / "begun").read_text().splitlines()
    assert len(begun) == 1 + len(told) > 1
    assert len(set(begun)) == 1, "the same socket and token"
    assert set(told) == {f"the process that served died: {told_as}; another one follows"}
    assert not list((tmp_path / "tmp").iterdir())


def test_one_that_does_not_even_begin_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsupportedError, match="did not start: exit code 3"):
        serve("import sys; sys.exit(3)", monkeypatch)


def test_none_outlives_the_worker() -> None:
    with start_worker_process() as (process, address):
        host, port = address.split(":")
        socket.create_connection((host, int(port)), timeout=30).close()
        process.kill()
        process.wait()
        for _ in range(1000):
            try:
                socket.create_connection((host, int(port)), timeout=30).close()
            except OSError:
                break
            time.sleep(0.01)
        else:
            pytest.fail(f"somebody still listens, and this is {os.getpid()}")
