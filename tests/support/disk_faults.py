"""Saves a model over another one, again and again, and stops each time at another step: run as a script.

The process holds everything ready and forks for each fault, so that a hundred real kills take seconds. What the parent
prints is one JSON line a fault: what stopped it, how the child ended, and what is in the folder after.
"""

from __future__ import annotations

import errno
import functools
import gc
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import OnnxslimError
from onnxslim.model_io import model_file

#: What a save asks of the system; the fault strikes before the call is made, or after it was.
CALLS = ("open", "write", "fsync", "chmod", "replace", "close", "unlink", "fstat", "listdir")


def model(fill: float) -> ir.Model:
    """y = x + w, with 64 kB of ``fill`` in w."""
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([16384]))
    w = ir.Value(name="w", const_value=ir.tensor(np.full(16384, fill, np.float32), name="w"))
    node = ir.node("Add", [x, w])
    y = node.outputs[0]
    y.name, y.type, y.shape = "y", x.type, x.shape
    graph = ir.Graph([x], [y], nodes=[node], initializers=[w], opset_imports={"": 17}, name="g")
    return ir.Model(graph, ir_version=8)


def state(folder: str) -> dict:
    """Which model ``out.onnx`` is (its fill), or what is wrong with it; and the files there are."""
    try:
        array = model_file.load(os.path.join(folder, "out.onnx")).graph.initializers["w"].const_value.numpy()
        held: object = float(array[0]) if (array == array[0]).all() else "torn"
    except OnnxslimError as error:
        held = f"{type(error).__name__}: {error}"
    return {"held": held, "files": sorted(os.listdir(folder))}


def struck(step: int, fault: Callable[[], None], *, after: bool, counter: int = -1) -> None:
    """Let ``fault`` strike at the ``step``-th of the CALLS in this process; tell the ``counter`` (a pipe) of each."""
    count = 0

    def wrap(real: Callable) -> Callable:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal count
            count += 1
            if counter >= 0:
                os_write(counter, b".")
            if count != step:
                return real(*args, **kwargs)
            result = real(*args, **kwargs) if after or real is os_close else None
            fault()
            return result

        return call

    os_close, os_write = os.close, os.write
    for name in CALLS:
        setattr(os, name, wrap(getattr(os, name)))


def failing(number: int) -> Callable[[], None]:
    def fault() -> None:
        raise OSError(number, os.strerror(number))

    return fault


def signalled(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


FAULTS: dict[str, Callable[[], None]] = {
    "ENOSPC": failing(errno.ENOSPC),
    "EIO": failing(errno.EIO),
    "SIGINT": signalled(signal.SIGINT),
    "SIGTERM": signalled(signal.SIGTERM),
    "SIGKILL": signalled(signal.SIGKILL),
}


def child(folder: str, external: bool, prepare: Callable[[], None]) -> int:
    """Save the new model in a forked process that ``prepare`` has doomed; its exit status, negative for a signal."""
    process = os.fork()
    if process == 0:
        code = 99  # something escaped
        try:
            prepare()
            model_file.save(model(2.0), os.path.join(folder, "out.onnx"), external_data=external)
            code = 0
        except OnnxslimError as error:
            code = error.exit_code
        except KeyboardInterrupt:
            code = 130
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main(root: str, external: bool) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = os.path.join(root, "work")

    def run(name: str, prepare: Callable[[], None], where: str = folder) -> None:
        if where == folder:
            shutil.rmtree(where, ignore_errors=True)
            os.makedirs(where)
        model_file.save(model(1.0), os.path.join(where, "out.onnx"), external_data=external)
        code = child(where, external, prepare)
        found = state(where)
        if where != folder:  # or there would be no room for the next either, as long as anyone maps the old one
            gc.collect()
            for left in os.listdir(where):
                os.unlink(os.path.join(where, left))
        model_file.save(model(3.0), os.path.join(where, "out.onnx"), external_data=external)
        print(json.dumps({"fault": name, "code": code, **found, "next": state(where)}))

    reader, writer = os.pipe()
    run("nothing", lambda: struck(0, signalled(0), after=False, counter=writer))
    steps = len(os.read(reader, 10_000))
    for name, fault in FAULTS.items():
        for after in (False, True) if name in ("EIO", "SIGKILL") else (False,):
            for step in range(1, steps + 1):
                when = f"{name} {'after' if after else 'at'} call {step} of {steps}"
                run(when, functools.partial(struck, step, fault, after=after))
    for limit in (0, 1, 1000, 30_000, 65_536, 65_600):
        run(f"files of {limit} bytes", functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit)))
    if len(sys.argv) > 3:  # a file system with room for one model and a half
        run("a full disk", lambda: None, where=sys.argv[3])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "external")
