"""A function of the user's as a source of data, called only when running code was allowed."""

from __future__ import annotations

from typing import Any

from onnxslim.core.errors import InvalidDataError, OnnxslimError
from onnxslim.core.user_functions import load_function


def call_reader(source: str, allow_code: bool) -> Any:
    """What the function returns: any other source.

    Raises:
        UsageError: Running code was not allowed, or there is no such function.
        InvalidDataError: It raised.
    """
    reader = load_function("--data", source, allow_code)
    try:
        return reader()
    except OnnxslimError:
        raise
    except Exception as error:
        raise InvalidDataError(f"{source} raised {type(error).__name__}: {error}") from error
