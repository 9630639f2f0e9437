"""Every error this library raises on purpose, each with the exit code the command line ends with.

A message is one line that names the node, tensor, file or key, and says what was expected; the hint says what to do
next. Anything else that escapes is a defect of ours, not of the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class OnnxslimError(Exception):
    """Base of all typed errors.

    Args:
        message: One line for people.
        hint: What to try next, or None.
    """

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def as_json(self) -> dict[str, str | None]:
        """The contract's ``error``."""
        return {"kind": self.kind, "message": self.message, "hint": self.hint}

    @staticmethod
    def from_json(entry: Mapping[str, Any]) -> OnnxslimError:
        """The error that :meth:`as_json` wrote down, of its own class, which has the exit code."""
        classes = {cls.kind: cls for cls in OnnxslimError.__subclasses__()}
        return classes.get(entry["kind"], OnnxslimError)(entry["message"], hint=entry["hint"])

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and errors cross process borders.
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(cls: type[OnnxslimError], message: str, hint: str | None) -> OnnxslimError:
    return cls(message, hint=hint)


class UsageError(OnnxslimError):
    """The call itself is wrong: an option, a missing input file, no data given, an output that exists."""

    exit_code = 2
    kind = "usage"


class InvalidModelError(OnnxslimError):
    """The model is broken or unsafe: not ONNX, truncated, a cycle, an undefined input, data outside its folder."""

    exit_code = 3
    kind = "invalid_model"


class InvalidDataError(OnnxslimError):
    """The data, or decisions that a recipe records, do not fit the model, or it does no better than guessing on the data."""

    exit_code = 3
    kind = "invalid_data"


class UnsupportedError(OnnxslimError):
    """Valid, but not possible here: an op, a provider, a missing extra, a model that is int8 already or ends its process."""

    exit_code = 4
    kind = "unsupported"


class NothingGainedError(OnnxslimError):
    """What was asked for would make the file no smaller; a command that makes a model writes the original then."""

    exit_code = 4
    kind = "nothing_gained"


class GateError(OnnxslimError):
    """A constraint was not met; no output was written.

    Attributes:
        prunable_share: The most that can be pruned, of what the budget counts, where that is less than was asked for; it
            stays in the process that found out.
    """

    exit_code = 5
    kind = "gate"

    def __init__(self, message: str, *, hint: str | None = None, prunable_share: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.prunable_share = prunable_share


class InconclusiveError(OnnxslimError):
    """The data cannot tell whether a constraint is met; `verify` ends so where that counts as a failure."""

    exit_code = 7
    kind = "inconclusive"


class LimitError(OnnxslimError):
    """A resource limit (memory, bytes to fold, time) was reached."""

    exit_code = 6
    kind = "limit"


class TimeLimitError(OnnxslimError):
    """The time of one step is up, and nothing usable came of it; a search goes on without it."""

    exit_code = 6
    kind = "time_limit"


class LostWorkerError(OnnxslimError):
    """A worker was lost each time that it was handed the same work; a search does that work itself."""

    exit_code = 6
    kind = "lost_worker"


class DefectError(OnnxslimError):
    """A defect of onnxslim; a search goes on without the candidate that met it, and says so."""

    exit_code = 1
    kind = "defect"

    @classmethod
    def of(cls, error: BaseException) -> DefectError:
        """``error``, which nobody expected, in one line."""
        lines = str(error).strip().splitlines() or [""]
        return cls(
            f"this is a defect of onnxslim: {type(error).__name__}: {lines[0]}",
            hint="--debug shows where; please report it with the command and, if you can, the model",
        )
