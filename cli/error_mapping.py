"""Every way a command can end badly, as one typed error with its exit code."""

from __future__ import annotations

import difflib
import errno
import os
import re

import click

from onnxslim.core.errors import DefectError, LimitError, OnnxslimError, UsageError

_RESOURCE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENOMEM, errno.EAGAIN)


class EndedEarlyError(OnnxslimError):
    """Ctrl-C, or a polite request to end."""

    exit_code = 130
    kind = "interrupted"


#: What click says of a second model, where `onnxslim IN OUT` has taught people to write the result.
_SECOND_MODEL = re.compile(r"unexpected extra argument \((\S+\.onnx)\)")


def to_typed_error(error: BaseException) -> OnnxslimError:
    """``error`` as one of ours."""
    if isinstance(error, OnnxslimError):
        return error
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return EndedEarlyError("interrupted")
    if isinstance(error, click.ClickException):
        return _to_usage_error(error)
    if isinstance(error, MemoryError):
        return LimitError("not enough memory", hint="fewer samples with --max-samples, or a smaller --batch-size")
    if isinstance(error, OSError) and error.errno is not None:
        error_type = LimitError if error.errno in _RESOURCE_ERRNOS else UsageError
        place = f"{os.fspath(error.filename)}: " if isinstance(error.filename, (str, os.PathLike)) else ""
        return error_type(f"{place}{os.strerror(error.errno)}")
    return DefectError.of(error)


def _to_usage_error(error: click.ClickException) -> UsageError:
    """What click found wrong with the call; the nearest of its suggestions becomes the hint."""
    context = getattr(error, "ctx", None)
    hint = None if context is None else f"{context.command_path} --help"
    message = error.format_message()
    if isinstance(error, click.NoSuchOption):
        message = f"no such option: {error.option_name}"
        matches = difflib.get_close_matches(error.option_name, error.possibilities or (), n=2)
        hint = f"did you mean {' or '.join(matches)}?" if matches else hint
    elif (extra := _SECOND_MODEL.search(message)) and context:
        options = {option for one in context.command.params for option in one.opts}
        if "--against" in options:  # what its -o writes is no model
            hint = f"the original goes behind --against: --against {extra[1]}"
        elif "-o" in options:
            hint = f"the file to write goes behind -o: -o {extra[1]}"
    return UsageError(" ".join(message.split()).rstrip("."), hint=hint)
