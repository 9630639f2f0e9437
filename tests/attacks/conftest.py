"""The one that loads for the attacked: a process with a memory limit, asked over a pipe, and given ten seconds.

Seconds of its own, because on a busy machine others take theirs; and a minute and a half in all, for what waits.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onnxslim.core.errors import OnnxslimError
from onnxslim.model_io import model_file

SECONDS = 10
WAITING = 90


def spent(process: subprocess.Popen) -> float:
    """Seconds of processor time that ``process`` has taken."""
    stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def answered(process: subprocess.Popen) -> bool:
    """Whether ``process`` says something before its time is up."""
    limit, end = spent(process) + SECONDS, time.monotonic() + WAITING
    while time.monotonic() < end and spent(process) < limit:
        if select.select([process.stdout], [], [], 0.5)[0]:
            return True
    return False


@pytest.fixture(scope="session")
def victim() -> Iterator[list[subprocess.Popen]]:
    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def attack(victim: list[subprocess.Popen]) -> Callable[..., dict]:
    """Load ``folder/model.onnx`` by its ``path``, its bare ``name`` or as ``bytes``, and return what came of it.

    The form ``here`` is the path again, in this process, where coverage and debuggers see it.
    """

    def run(folder: Path, form: str, model: str = "model.onnx", **options: object) -> dict:
        if form == "here":
            try:
                model_file.load(folder / model)
            except OnnxslimError as error:
                return {
                    "outcome": type(error).__name__,
                    "message": error.message,
                    "hint": error.hint or "",
                    "opened": [],
                }
            return {"outcome": "loaded"}
        if not victim or victim[-1].poll() is not None:
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            worker = [sys.executable, str(Path(__file__).parent / "worker.py")]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            victim.append(subprocess.Popen(worker, env=environment, text=True, **pipes))
        process = victim[-1]
        source = model if form == "name" else str(folder / model)
        request = {"form": form, "source": source, "cwd": str(folder if form == "name" else "/"), "options": options}
        print(json.dumps(request), file=process.stdin, flush=True)
        ready = answered(process)
        line = process.stdout.readline() if ready else ""
        if not line:
            process.kill()
            process.wait()
            pytest.fail(f"the process {'died' if ready else f'hung for {SECONDS} s'}")
        return json.loads(line)

    return run
