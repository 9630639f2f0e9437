"""A command in a process of its own, so that what ends that process ends in a line and an exit code.

The runtime checks few of its inputs, and a kernel that divides by zero or reads what is not there takes its process with
it: while it loads a model, or at any sample of any run. Nothing inside the process can catch that. So the process that was
started waits, the command runs in a child of it, and signals go on to the child. Who waits also removes the temporary
files that a child cannot any more: models of many megabytes are written for the runtime to map.

Where the child died in something that the command can do without, as one candidate of a search, another child goes on
(:mod:`onnxslim.core.attempts`). Where it died after the command was done, as in what libraries clear away at the end, the
command's exit code counts: files are written whole or not at all, and nothing that was asked for was still to come.
"""

from __future__ import annotations

import mmap
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from onnxslim.core.attempts import Supervision
    from onnxslim.core.errors import OnnxslimError

#: Signals that native code sends itself; what is sent from outside ends this process as it would have ended the command.
_DEATHS = ("SIGSEGV", "SIGFPE", "SIGILL", "SIGBUS", "SIGABRT", "SIGTRAP", "SIGSYS")
_FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
#: Those that ask the command to end: no other child begins then, and the first two end it as they end one that lives.
_INTERRUPTS = ("SIGINT", "SIGTERM")
_ENDINGS = (*_INTERRUPTS, "SIGHUP", "SIGQUIT")
#: Of a frame of the runtime in a trace: its Python sides, and the function.
_RUNTIME_FRAME = re.compile(r'^  File "[^"\n]*onnxruntime_inference_collection\.py", line \d+ in (\w+)$', re.MULTILINE)
_PR_SET_PDEATHSIG = 1
_QUIET = frozenset(("-q", "--quiet"))


def run_supervised(arguments: Sequence[str]) -> int:
    """Run one command line in a child, on Linux; elsewhere, and where no temporary file or no process can be had, here.

    Returns:
        The exit code: the command's own, 4 where it died, 6 where the system killed it.
    """
    if sys.platform != "linux":
        return _run(arguments)
    from onnxslim.core.attempts import begin_supervision

    try:
        trace_file = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (closed below)
        outcome = mmap.mmap(-1, 2)  # shared: whether the command is done, and its exit code
        scratch = tempfile.mkdtemp(prefix="onnxslim-")
        kept, temporary = os.path.join(scratch, "kept"), os.path.join(scratch, "temporary")
        os.mkdir(kept)
    except OSError:
        return _run(arguments)
    with trace_file, outcome:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who ignores it, and hands that down, is never told
        awaited = {signal.SIGCHLD, *(signal.Signals[name] for name in _FORWARDED)}
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
        parent, attempts = os.getpid(), begin_supervision(kept)
        received: set[str] = set()
        while True:
            try:
                os.mkdir(temporary)
                child = os.fork()
            except OSError:
                shutil.rmtree(scratch, ignore_errors=True)
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                return _run(arguments)
            if child == 0:
                tempfile.tempdir = temporary
                try:
                    _become_child(parent, mask, trace_file)
                    code = _run(arguments)
                except KeyboardInterrupt:  # one that came before anybody handled it
                    code = _report_interrupt(arguments)
                _note_outcome(outcome, code)
                return code
            code = _wait_for(child, awaited, received)
            shutil.rmtree(temporary, ignore_errors=True)
            has_died = code < 0 and not outcome[0] and signal.Signals(-code).name in (*_DEATHS, "SIGKILL")
            ending = _find_ending(received)
            if has_died and ending is None and _can_go_on(-code, trace_file, arguments, attempts):
                ending = _find_ending(received)  # what came meanwhile, no child got
                if ending is None:
                    continue
            break
        shutil.rmtree(scratch, ignore_errors=True)
        if code >= 0:
            return code
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if outcome[0]:
            return _report_late_death(-code, outcome[1], arguments)
        if has_died and ending is None:
            return _report_death(-code, trace_file, arguments)
        if has_died and ending in _INTERRUPTS:
            return _report_interrupt(arguments)
        number = signal.Signals[ending] if has_died and ending is not None else -code
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return 128 + number


def _run(arguments: Sequence[str]) -> int:
    from .app import run

    return run(arguments)


def _become_child(parent: int, mask: Iterable[int], trace_file: IO[str]) -> None:
    """Never outlive ``parent``, write down in which call this process died, and take signals as they come from where on
    there is soon who handles them: before that they wait.
    """
    import ctypes
    import faulthandler

    from . import app  # noqa: F401

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before the line above
        os._exit(1)
    faulthandler.enable(trace_file)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _wait_for(child: int, awaited: set[signal.Signals], received: set[str]) -> int:
    """The exit code of ``child``, negative for a signal; other signals that come meanwhile are handed to it, and their names
    added to ``received``.
    """
    early = signal.sigpending()  # some came perhaps before there was this child, whoever sent them
    while True:
        found = signal.sigwaitinfo(awaited)
        if found.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            continue
        received.add(signal.Signals(found.si_signo).name)
        # what a process sent; what a terminal sends, a child that is there gets as well
        if found.si_code <= 0 or found.si_signo in early:
            os.kill(child, found.si_signo)
        early.discard(signal.Signals(found.si_signo))


def _find_ending(received: set[str]) -> str | None:
    """A signal that asks the command to end, among those ``received`` and those that wait, which are added; None where there
    is none, or the command was told not to listen.
    """
    while (found := signal.sigtimedwait([signal.Signals[name] for name in _ENDINGS], 0)) is not None:
        received.add(signal.Signals(found.si_signo).name)
    heard = (name for name in _ENDINGS if signal.getsignal(signal.Signals[name]) is not signal.SIG_IGN)
    return next((name for name in heard if name in received), None)


def _note_outcome(outcome: mmap.mmap, code: int) -> None:
    """Leave word that the command is done, once all that it said is said."""
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (OSError, ValueError):
        return
    outcome[1] = code
    outcome[0] = 1


def _can_go_on(number: int, trace_file: IO[str], arguments: Sequence[str], attempts: Supervision) -> bool:
    """Whether the next process can do without what this one died in; what that is is said then."""
    from onnxslim.core.errors import UnsupportedError

    from .console import terminal

    if signal.Signals(number).name not in _DEATHS:
        return False
    trace = _read_trace(trace_file)
    error = _describe(number, trace)
    name = attempts.add_death(error) if isinstance(error, UnsupportedError) else None
    if name is None:
        return False
    _restore_terminal(trace, arguments)
    if not _QUIET.intersection(arguments):
        terminal.print_note(f"{name}: {error.message}; going on without it")
    trace_file.seek(0)
    trace_file.truncate()
    return True


def _report_late_death(number: int, code: int, arguments: Sequence[str]) -> int:
    from onnxslim.runtime.isolation import describe_death

    from .console import terminal

    if not _QUIET.intersection(arguments):
        terminal.print_note(f"warning: the command was done, then its process died: {describe_death(-number, '')}")
    return code


def _report_interrupt(arguments: Sequence[str]) -> int:
    from .app import report_failure
    from .error_mapping import to_typed_error

    return report_failure(to_typed_error(KeyboardInterrupt()), list(arguments))


def _report_death(number: int, trace_file: IO[str], arguments: Sequence[str]) -> int:
    from .app import report_failure

    trace = _read_trace(trace_file)
    _restore_terminal(trace, arguments)
    return report_failure(_describe(number, trace), list(arguments))


def _read_trace(trace_file: IO[str]) -> str:
    trace_file.seek(0)
    return trace_file.read()


def _restore_terminal(trace: str, arguments: Sequence[str]) -> None:
    from .console import terminal

    terminal.restore()
    if "--debug" in arguments:
        terminal.print_note(trace.rstrip())


def _describe(number: int, trace: str) -> OnnxslimError:
    from importlib.metadata import PackageNotFoundError, version

    from onnxslim.core.errors import LimitError, UnsupportedError
    from onnxslim.runtime.isolation import describe_death

    if number == signal.SIGKILL:
        return LimitError(
            "the system killed the command, which is what happens where memory runs out",
            hint="--max-memory ends it before, and plans what it holds; fewer samples take less (--max-samples)",
        )
    frame = _RUNTIME_FRAME.search(trace)
    if frame is None:
        return UnsupportedError(
            f"the process died: {describe_death(-number, '')}",
            hint="--debug shows where; please report it with the command and, if you can, the model",
        )
    try:
        runtime = f"onnxruntime {version('onnxruntime')}"
    except PackageNotFoundError:  # a wheel of another name: onnxruntime-gpu
        runtime = "onnxruntime"
    ran = frame[1].startswith("run")
    return UnsupportedError(
        f"{runtime} died while it {'ran' if ran else 'loaded'} a model: {describe_death(-number, '')}",
        hint="inputs that the model was not made for can do that: give real ones with --data, such as an .npz of arrays by "
        "input name; --debug shows in which step it was"
        if ran
        else "`onnxslim validate` says whether it loads and what helps; --debug shows in which step it was",
    )
