"""Peak memory of running a model, measured in a process of its own, where nothing else is."""

from __future__ import annotations

import ctypes
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.runtime.session import SessionConfig

logger = logging.getLogger(__name__)

#: Runs in the child: two inferences, the peak resident set before the session and after them. Linux hands ru_maxrss on
#: from parent to child, so there the kernel's own high-water mark of the address space is read.
_CHILD = """
import json, sys
import numpy as np, onnxruntime as ort
def high():
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except OSError:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model, data, threads = sys.argv[1:]
feeds = dict(np.load(data))
before = high()
options = ort.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = int(threads), 4
session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
for _ in range(2):
    session.run(None, feeds)
print(json.dumps([before, high()]))
"""


def peak(model: ir.Model, feed: Mapping[str, np.ndarray], config: SessionConfig) -> int | None:
    """Bytes that loading and running ``model`` on ``feed`` adds to a bare process's peak; None where unmeasurable.

    Only the CPU provider is measured: a device's memory is not the process's.
    """
    if config.provider != "cpu" or sys.platform == "win32":
        return None
    with tempfile.TemporaryDirectory(prefix="onnxslim-") as name:
        folder = Path(name)
        io.save(model, folder / "model.onnx")
        arrays: dict[str, Any] = {key: np.asarray(value) for key, value in feed.items()}
        np.savez(folder / "feed.npz", **arrays)
        command = [sys.executable, "-c", _CHILD, str(folder / "model.onnx"), str(folder / "feed.npz"), str(config.threads)]
        child = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if child.returncode != 0:
        logger.debug("peak memory could not be measured: %s", child.stderr.strip().splitlines()[-1:])
        return None
    before, after = json.loads(child.stdout)
    return int(after - before)


def give_back() -> None:
    """Return what was freed to the system, where the C library keeps it (glibc); elsewhere nothing.

    A session's blocks are freed on the threads that ran it, and glibc keeps those for each thread.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def own_peak() -> int | None:
    """Peak resident bytes of this process so far; None where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except OSError:
        return None
