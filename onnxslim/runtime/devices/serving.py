"""The process that serves: where a model ends it, another one follows, at the same address and with the same token.

Nothing inside a process can catch that a kernel ends it. So the worker that was started by hand only listens, and a process
of its own serves at its socket; a search that loses it there finds the next one, and goes on without the model that it died
of.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

from onnxslim.core.errors import UnsupportedError
from onnxslim.runtime.devices.messages import TOKEN_VARIABLE
from onnxslim.runtime.isolation import describe_death

#: It ends with the one that started it, whose end of a pipe is closed then, however that ends.
_SERVING = """
import os, sys, threading
sys.path[:] = sys.argv[2].split("\\n")
def end_with_parent():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=end_with_parent, daemon=True).start()
from onnxslim.runtime.devices.worker import serve_inherited
serve_inherited(int(sys.argv[1]))
"""
#: What it says once it serves: one that cannot even do that has no successor.
READY = "ready"
#: What somebody sends who wants it to end.
_ENDINGS = (signal.SIGTERM, signal.SIGINT)


def can_be_followed() -> bool:
    """Whether the system hands a socket that listens to another process by its number."""
    return os.name == "posix"


def keep_serving(listener: socket.socket, token: str, folders: Sequence[str], announce: Callable[[str], None]) -> None:
    """Have processes serve at ``listener`` one after another, until interrupted.

    Args:
        listener: It listens, and stays open here.
        token: What a search has to know.
        folders: Where the processes look for modules, as absolute paths.
        announce: Told where one died.

    Raises:
        UnsupportedError: One ended before it served.
    """
    while True:
        folder = tempfile.mkdtemp(prefix="onnxslim-")  # what a process that died leaves there goes here
        try:
            with _start(listener, token, folders, folder) as process:
                try:
                    is_ready = process.stdout is not None and process.stdout.readline().strip() == READY
                    process.wait()
                finally:
                    process.kill()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        how = describe_death(process.returncode, "")
        if not is_ready:
            raise UnsupportedError(f"the process that serves did not start: {how}", hint="what it said stands above")
        if process.returncode == 0 or -process.returncode in _ENDINGS:
            return  # it was told to; what a kernel or the system ends may leave a code too
        announce(f"the process that served died: {how}; another one follows")


def _start(listener: socket.socket, token: str, folders: Sequence[str], folder: str) -> subprocess.Popen[str]:
    number = listener.fileno()
    return subprocess.Popen(
        [sys.executable, "-c", _SERVING, str(number), "\n".join(folders)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, pass_fds=(number,), env={**os.environ, TOKEN_VARIABLE: token, "TMPDIR": folder},
        start_new_session=True,  # what a terminal sends is for the one that was started there
    )  # fmt: skip


def say_ready() -> None:
    """Tell who waits that this process serves; what it prints from here on is no answer."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        os.dup2(2, 1)
