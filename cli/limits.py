"""``--timeout`` and ``--max-memory``: a command that would take more ends with exit code 6.

A thread watches. It interrupts the command as Ctrl-C would, so files are left whole and temporary ones removed; a command
that is deep in native code and does not answer is ended where it is, and what it leaves is removed by the next one.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from onnxslim.core.attempts import find_start
from onnxslim.core.errors import LimitError

#: Seconds between two looks, and how long an interrupted command may take to end by itself.
POLL_SECONDS = 0.05
GRACE_SECONDS = 5.0


@contextmanager
def enforce_limits(timeout: float | None, max_memory: int | None, give_up: Callable[[LimitError], None]) -> Iterator[None]:
    """Interrupt the block, which must run in the main thread, when it takes too long or too much memory.

    Args:
        timeout: Seconds, or None.
        max_memory: Bytes that this process may hold besides mapped files, or None.
        give_up: Says why, before a process that does not answer is ended.

    Raises:
        LimitError: The block took more.
    """
    if timeout is None and max_memory is None:
        yield
        return
    watcher = _Watcher(timeout, max_memory, give_up)
    try:
        try:
            with _accept_interrupts(watcher):
                watcher.start()
                yield
        finally:
            watcher.stop()
    except KeyboardInterrupt:
        if watcher.limit_error is None:
            raise
    if watcher.limit_error is not None:
        raise watcher.limit_error


@contextmanager
def _accept_interrupts(watcher: _Watcher) -> Iterator[None]:
    """Let the watcher interrupt this process even where a shell put it into the background, deaf to Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return

    def answer(number: int, frame: FrameType | None) -> None:
        if watcher.limit_error is not None:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, answer)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Watcher(threading.Thread):
    """Looks at the clock and at the memory until told to end."""

    def __init__(self, timeout: float | None, max_memory: int | None, give_up: Callable[[LimitError], None]) -> None:
        super().__init__(name="limits", daemon=True)
        self.limit_error: LimitError | None = None
        self._deadline = None if timeout is None else find_start("command") + timeout
        self._timeout, self._max_memory, self._give_up = timeout, max_memory, give_up
        self._stop_event = threading.Event()
        self._main_thread_id = threading.main_thread().ident or 0

    def run(self) -> None:
        """Watch; interrupt the main thread once, and end the process if that does not help."""
        while not self._stop_event.wait(POLL_SECONDS):
            limit_error = self._check_limits()
            if limit_error is not None:
                self.limit_error = limit_error
                _interrupt(self._main_thread_id)
                if not self._stop_event.wait(GRACE_SECONDS):
                    self._give_up(limit_error)
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(LimitError.exit_code)
                return

    def stop(self) -> None:
        """Stop watching."""
        self._stop_event.set()
        self.join()

    def _check_limits(self) -> LimitError | None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            return LimitError(f"not done after {self._timeout:g} s (--timeout)")
        if self._max_memory is not None and (held := measure_held_bytes()) > self._max_memory:
            return LimitError(
                f"{held / 1e6:,.0f} MB are held, {self._max_memory / 1e6:,.0f} are allowed (--max-memory)",
                hint="fewer samples with --max-samples, or a smaller --batch-size",
            )
        return None


def measure_held_bytes() -> int:
    """Bytes of memory that this process holds, those of mapped files aside where the system tells them apart."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            anonymous_kb = re.search(r"^RssAnon:\s*(\d+) kB", file.read(), re.MULTILINE)
    except OSError:
        anonymous_kb = None
    if anonymous_kb is not None:
        return 1024 * int(anonymous_kb[1])
    if sys.platform == "win32":
        return 0  # nothing in the standard library tells
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _interrupt(thread: int) -> None:
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGINT)
    else:
        signal.pthread_kill(thread, signal.SIGINT)  # also ends a wait for a pipe or a disk
