"""``package.module:function``: a function of the user's (a reader, a metric), imported only when code may run."""

from __future__ import annotations

import importlib
import os
import re
import sys
from typing import Any

from onnxslim.core.errors import UsageError

_REFERENCE_PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_function_reference(source: object) -> bool:
    """Whether ``source`` is a text that is spelled like a function."""
    return isinstance(source, str) and _REFERENCE_PATTERN.fullmatch(source) is not None


def load_function(option: str, text: str, allowed: bool) -> Any:
    """The function ``text`` names; modules are looked for in the current folder first.

    Raises:
        UsageError: Running code was not allowed, or there is no such function.
    """
    if not allowed:
        raise UsageError(f"{option} {text} would import and run code", hint="add --allow-code if you trust it")
    module, _, name = text.partition(":")
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{option} {text}: {error}") from error
    finally:
        sys.path.remove(folder)
    if not callable(function):
        raise UsageError(f"{option} {text}: not a function")
    return function
