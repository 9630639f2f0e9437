"""One command line: a command, or the old habit ``onnxslim IN [OUT]``; and every exit code."""

from __future__ import annotations

import contextlib
import difflib
import os
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType

import click

from onnxslim.core.errors import OnnxslimError, UsageError
from onnxslim.core.version import __version__

from .command_registry import COMMANDS
from .console import terminal
from .error_mapping import to_typed_error

#: An interrupt that comes so soon after another is that other.
_SAME_INTERRUPT_SECONDS = 1.0


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the work, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; only now is it imported."""
        return COMMANDS.get(cmd_name)


root_group = _Group(
    "onnxslim",
    help="Give it an ONNX file and some data, get back the smallest, fastest file that is still right.\n\n"
    "`onnxslim IN [OUT]` alone simplifies exactly; `onnxslim IN --help` lists the flags of that form.",
    params=[],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
click.version_option(__version__, "-V", "--version", message="%(version)s")(root_group)


def run(argv: Sequence[str]) -> int:
    """Run one command line, the arguments after the program's name, and return the exit code."""
    arguments = list(argv)
    terminal.accept_any_character()
    try:
        with _handle_interrupts():
            return _dispatch(arguments)
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        return report_failure(to_typed_error(error), arguments)


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        terminal.print_note(root_group.get_help(click.Context(root_group, info_name="onnxslim")))
        return UsageError.exit_code
    first = arguments[0]
    if first in COMMANDS or first in ("-h", "--help", "-V", "--version"):
        # click gives back the code of --help and --version, and None of a command that ran.
        return root_group.main(arguments, prog_name="onnxslim", standalone_mode=False, obj=tuple(arguments)) or 0
    if (
        first.startswith("-")
        and (named_command := next((a for a in arguments if a in COMMANDS), None))
        and _is_common_option(first)
    ):
        raise UsageError(f"{first}: options follow the command", hint=f"onnxslim {named_command} … {first}")
    if not first.startswith("-") and not os.path.exists(first) and not os.path.splitext(first)[1]:
        matches = difflib.get_close_matches(first, COMMANDS, n=1)
        raise UsageError(
            f"{first}: neither a command nor a file",
            hint=f"did you mean {matches[0]}?" if matches else f"commands: {', '.join(COMMANDS)}",
        )
    from . import legacy  # which imports the library, as the commands do: not for --help and a typing error

    return legacy.run_legacy(arguments)


def _is_common_option(option: str) -> bool:
    """Whether all commands have ``option``, and the bare form does not."""
    from .options.common_options import OPTION_SECTIONS

    names = {name for options in OPTION_SECTIONS.values() for option in options for name in option.opts}
    return option in names - {"-v", "--verbose"}


def report_failure(error: OnnxslimError, arguments: list[str]) -> int:
    """Say why the command line ``arguments`` failed, for people or as JSON, and return the exit code."""
    command = next((first for first in arguments[:1] if first in COMMANDS), None)
    if command is not None and os.path.isfile(command) and error.exit_code == UsageError.exit_code:
        error = UsageError(error.message, hint=f"to simplify the file of that name: onnxslim ./{command}")
    if "--json" in arguments:
        from .console import output

        terminal.print_text(output.format_failure(error, command or "slim"))
    else:
        terminal.print_error(error)
    return error.exit_code


@contextlib.contextmanager
def _handle_interrupts() -> Iterator[None]:
    """While the block runs, SIGTERM ends it like Ctrl-C does: files are left whole, temporary ones are removed.

    What is sent to a group of processes comes twice, once from the one that waits for this one: within
    :data:`_SAME_INTERRUPT_SECONDS` it is the same, and does not interrupt the clearing away.
    """
    heard_at = -_SAME_INTERRUPT_SECONDS

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal heard_at
        before, heard_at = heard_at, time.monotonic()
        if heard_at - before > _SAME_INTERRUPT_SECONDS:
            raise KeyboardInterrupt

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may have told the command not to listen
        numbers.append(signal.SIGINT)
    try:
        previous_handlers = {number: signal.signal(number, interrupt) for number in numbers}
    except ValueError:  # only the main thread may; a program that calls us from another keeps its own handling
        yield
        return
    try:
        yield
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
