"""The optional extra: everything in this room that trains needs torch, and says so in one line where it is absent."""

from __future__ import annotations

from importlib.util import find_spec

from onnxslim.core.errors import UnsupportedError


def has_torch() -> bool:
    """Whether torch is installed; it is not imported."""
    return find_spec("torch") is not None


def require_torch(feature: str) -> None:
    """Raise when torch is not installed.

    Raises:
        UnsupportedError: With the one command that installs it.
    """
    if not has_torch():
        raise UnsupportedError(f"{feature} needs PyTorch", hint='pip install "onnxslim-toolkit[torch]"')
