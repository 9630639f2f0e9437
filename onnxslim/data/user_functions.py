"""``package.module:function``: the user's own reader, called only when running code was allowed."""

from __future__ import annotations

import importlib
import os
import re
import sys
from typing import Any

from onnxslim.core.errors import InvalidDataError, OnnxslimError, UsageError

_REFERENCE_PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_function_reference(source: Any) -> bool:
    """The source is spelled like a function."""
    return isinstance(source, str) and _REFERENCE_PATTERN.fullmatch(source) is not None


def call_function(source: str, allow_code: bool) -> Any:
    """What the function returns: any other source. Modules are looked for in the current folder first.

    Raises:
        UsageError: Running code was not allowed, or there is no such function.
        InvalidDataError: It raised.
    """
    if not allow_code:
        raise UsageError(f"--data {source} would import and run code", hint="add --allow-code if you trust the module")
    module, _, function = source.partition(":")
    working_folder = os.getcwd()
    sys.path.insert(0, working_folder)
    try:
        reader = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--data {source}: {error}") from error
    finally:
        sys.path.remove(working_folder)
    try:
        return reader()
    except OnnxslimError:
        raise
    except Exception as error:
        raise InvalidDataError(f"{source} raised {type(error).__name__}: {error}") from error
