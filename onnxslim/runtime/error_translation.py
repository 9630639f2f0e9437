"""onnxruntime's errors as ours, wherever they were raised: here, or in a process of its own that told its name and text."""

from __future__ import annotations

import os
import re

from onnxslim.core.errors import InvalidModelError, LimitError, OnnxslimError, UnsupportedError, UsageError


def translate_error(error: Exception, context: str) -> Exception:
    """onnxruntime's exception as one of ours, with its message cut to the line that tells; others as they are."""
    if not type(error).__module__.startswith("onnxruntime") and not isinstance(error, (ValueError, RuntimeError)):
        return error
    return translate_text(type(error).__name__, str(error), context)


def translate_text(name: str, text: str, context: str) -> OnnxslimError:
    """The same of an exception called ``name`` with the message ``text``."""
    line = f"{context}: {first_line(text) or name}"
    if "provider option" in text.lower():
        return UsageError(line, hint="the options of each provider: https://onnxruntime.ai/docs/execution-providers/")
    if name == "NotImplemented" or "not a registered function/op" in line or "NOT_IMPLEMENTED" in line:
        return UnsupportedError(line, hint="a newer onnxruntime may have this op, or a library of custom ops: --custom-ops")
    if "construct locale" in line:
        locale = line.rpartition("locale with name:")[2].partition(":")[0]
        text = f"{context}: a StringNormalizer needs the locale {locale}, which this machine lacks"
        return UnsupportedError(text, hint=f"install it; on Debian: locale-gen {locale}")
    if any(words in line for words in ("allocate memory", "bad_alloc", "bad allocation")):
        return LimitError(line)
    if name == "InvalidArgument" and "running" in context:
        return UsageError(line)
    return InvalidModelError(line)


def make_library_error(library: str, text: str) -> UsageError:
    """What is raised where the runtime's message about a library of custom ops is ``text``."""
    why = "no such file" if not os.path.exists(library) else (first_line(text) or "it cannot be loaded")
    return UsageError(f"--custom-ops {library}: not a library of custom ops: {why}")


def first_line(text: str) -> str:
    """The line of the runtime's message that tells, without its codes and without the file it loaded, which may be one that
    nobody else knows; empty where there is none.
    """
    line = text.strip().splitlines()[0] if text.strip() else ""
    line = line.split("] : ", 1)[-1] if "[ONNXRuntimeError]" not in line else line.split(" : ", 3)[-1]
    return re.sub(r"^Load model from .*? failed: ?", "", line)
