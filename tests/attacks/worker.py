"""Loads what it is told to, one JSON line at a time, and tells what came of it and which files were opened on the way.

A process of its own, because an attack that works kills or fills the process, and with a memory limit, because one that
half works does not show otherwise.
"""

from __future__ import annotations

import json
import os
import resource
import sys

from onnxslim.core.errors import OnnxslimError
from onnxslim.model_io import model_file, tensors

opened: list[str] = []
watching = False


def watch(event: str, arguments: tuple) -> None:
    if watching and event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        opened.append(os.path.realpath(os.fsdecode(arguments[0])))


def answer(request: dict) -> dict:
    global watching
    source: str | bytes = request["source"]
    os.chdir(request["cwd"])
    if request["form"] == "bytes":
        source = b""
        if os.path.isfile(request["source"]):
            with open(request["source"], "rb") as file:
                source = file.read()
    opened.clear()
    watching = True
    try:
        model = model_file.load(source, **request["options"])
        total = sum(float(tensor.numpy().astype("float64").sum()) for tensor in tensors.iter_tensors(model))
        return {"outcome": "loaded", "sum": total}
    except OnnxslimError as error:
        return {"outcome": type(error).__name__, "message": error.message, "hint": error.hint or ""}
    except BaseException as error:
        return {"outcome": f"escaped: {type(error).__name__}", "message": str(error)[:500]}
    finally:
        watching = False


def main() -> None:
    sys.addaudithook(watch)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 3_000_000_000,) * 2)
    for line in sys.stdin:
        reply = answer(json.loads(line))
        print(json.dumps({**reply, "opened": opened}), flush=True)


main()
