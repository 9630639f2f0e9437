"""Where an outcome came from and how to look at it again: the command, the machine, the versions."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Sequence

from onnxslim.runtime.session import version


def describe_provenance(words: Sequence[str], files: Sequence[str | None]) -> dict[str, str]:
    """What a report says of its origin.

    Args:
        words: The command line behind the program's name.
        files: The models that it is about; None for one that is not on disk.
    """
    machine = f"{platform.machine() or 'unknown'}, {os.cpu_count() or '?'} processors, {platform.system()}"
    quoted_files = [shlex.quote(file) for file in files if file is not None]
    return {
        "repeat with": shlex.join(["onnxslim", *words]),
        "look inside with": "pip install netron; " + "; ".join(f"netron {file}" for file in quoted_files)
        if quoted_files
        else "",
        "machine": machine,
        "onnxruntime": version(),
        "Python": platform.python_version(),
    }
