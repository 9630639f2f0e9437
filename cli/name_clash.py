"""Another package of the same name.

The PyPI distribution ``onnxslim`` (0.1.98 and its kin) installs an import package ``onnxslim`` as well, into the same
folder. Whichever of the two was installed last owns the files they share, and removing one breaks the other.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

#: Not possible in this environment, as in :class:`onnxslim.core.errors.UnsupportedError`, which may not be importable.
EXIT_CODE = 4
_HINT = "pip uninstall -y onnxslim onnxslim-toolkit, then install onnxslim-toolkit alone"


@dataclass(frozen=True)
class NameClash:
    """What was found: whether nothing can work, one line, and what to do."""

    fatal: bool
    message: str
    hint: str = _HINT


def find_clash() -> NameClash | None:
    """What is wrong with the package ``onnxslim`` of this environment, or None."""
    try:
        other_version = importlib.metadata.version("onnxslim")
    except importlib.metadata.PackageNotFoundError:
        other_version = None
    try:
        import onnxslim
    except ImportError as error:
        if other_version is None:
            raise
        return NameClash(True, f"the package onnxslim {other_version} of PyPI has replaced parts of this one ({error})")
    if "Result" not in getattr(onnxslim, "__all__", ()):
        place = next(iter(onnxslim.__path__), "nowhere")
        return NameClash(True, f"the package onnxslim at {place} is not this tool's library")
    if other_version is not None:
        return NameClash(
            False,
            f"the package onnxslim {other_version} of PyPI is installed as well and shares files with this tool",
        )
    return None
