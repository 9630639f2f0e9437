"""A session in a process of another Python, which may be one under emulation (``processor_table.py``)."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import UnsupportedError
from onnxslim.model_io import model_file
from onnxslim.runtime.error_translation import translate_text
from onnxslim.runtime.isolation import Interpreter, describe_death, start_child
from onnxslim.runtime.session_config import SessionConfig, build_request

#: Runs feeds as they come: a line of JSON on stdin names the outputs, one on stdout says that they are there.
_RUNNING_CHILD = """
import numpy as np
folder = sys.argv[2]
try:
    session = make_session()
    told = {"inputs": [i.name for i in session.get_inputs()], "outputs": [o.name for o in session.get_outputs()]}
    told["version"] = ort.__version__
    print(json.dumps(told), flush=True)
    for line in sys.stdin:
        names = json.loads(line)
        with np.load(folder + "/feeds.npz") as file:
            feeds = {key[1:]: file[key] for key in file.files}
        results = session.run(names, feeds)
        if not all(isinstance(value, np.ndarray) and value.dtype != object for value in results):
            raise TypeError("an output is no tensor of numbers")
        np.savez(folder + "/results.npz", **{"_" + name: value for name, value in zip(names, results)})
        print(json.dumps({}), flush=True)
except Exception as error:
    print(json.dumps({"error": type(error).__name__, "text": str(error)}), flush=True)
"""


#: Seconds after which a process that says nothing is taken to hang: emulation makes a second a few minutes.
MAX_SILENCE_SECONDS = 600.0


class HandOverError(UnsupportedError):
    """What goes in or comes out is no tensor of numbers, which is all that the processes hand to each other."""


class EmulatedSession:
    """A session that runs by name in a process of its own, in another Python.

    Args:
        model: What runs.
        config: How; on the CPU provider.
        interpreter: The Python.
        name: What it is called in errors.

    Attributes:
        inputs: Their names.
        outputs: Their names.
        version: Of the runtime there.

    Raises:
        InvalidModelError: The runtime refuses the model there.
        UnsupportedError: It needs what is not there, or the process ends.
    """

    def __init__(self, model: ir.Model, config: SessionConfig, interpreter: Interpreter, name: str) -> None:
        self._name = name
        self._folder = tempfile.TemporaryDirectory(prefix="onnxslim-")
        path = model_file.save_for_runtime(model, self._folder.name)
        request = {**build_request(config), "model": path}
        self._child = start_child(_RUNNING_CHILD, request, self._folder.name, interpreter=interpreter)
        try:
            told = self._read()
        except BaseException:
            self.close()
            raise
        self.inputs: list[str] = told["inputs"]
        self.outputs: list[str] = told["outputs"]
        self.version: str = told["version"]

    def __enter__(self) -> EmulatedSession:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._child.kill()
        self._child.communicate()
        self._folder.cleanup()

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Run once; ``outputs`` (all by default) by name.

        Raises:
            HandOverError: An input or output is no tensor of numbers.
            OnnxslimError: As the runtime raises there.
        """
        names = list(self.outputs if outputs is None else outputs)
        arrays: dict[str, Any] = {f"_{name}": np.asarray(value) for name, value in feeds.items()}
        if any(array.dtype.kind in "OUS" for array in arrays.values()):
            raise HandOverError(f"{self._name}: strings are not handed over")
        np.savez(os.path.join(self._folder.name, "feeds.npz"), **arrays)
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(names) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # what it said last tells why
        self._read()
        with np.load(os.path.join(self._folder.name, "results.npz")) as file:
            return {name: file[f"_{name}"] for name in names}

    def _read(self) -> dict[str, Any]:
        """The child's next line."""
        assert self._child.stdout is not None
        timer = threading.Timer(MAX_SILENCE_SECONDS, self._child.kill)
        timer.start()
        try:
            line = self._child.stdout.readline()
        finally:
            is_late = not timer.is_alive()
            timer.cancel()
        if not line.startswith("{"):
            _, errors = self._child.communicate()
            if is_late:
                raise UnsupportedError(f"{self._name}: no answer within {MAX_SILENCE_SECONDS:g} s")
            raise UnsupportedError(f"{self._name}: the process ended: {describe_death(self._child.returncode, errors)}")
        told: dict[str, Any] = json.loads(line)
        if told.get("error") == "TypeError":
            raise HandOverError(f"{self._name}: {told['text']}")
        if "error" in told:
            raise translate_text(told["error"], told["text"], f"{self._name}: the runtime failed")
        return told
