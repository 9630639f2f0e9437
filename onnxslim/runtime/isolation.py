"""Sessions in a process of their own.

The runtime can end its process while it loads a model (a fusion that reads what is not there), and no exception says so.
What ends a child ends no command: the parent learns by which signal, and what it was doing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: The first lines of every child: it looks for modules where the parent does, which is not the folder it stands in, and
#: has a function that makes the session which the first argument asks for.
_CHILD_PROLOGUE = """
import sys
sys.path[:] = sys.argv.pop().split("\\n")
import json
request = json.loads(sys.argv[1])
import onnxruntime as ort
def make_session():
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = request["threads"], 1, 4
    if not request["optimize"]:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    for key, value in request["session_options"].items():
        options.add_session_config_entry(key, value)
    for library in request["custom_ops"]:
        try:
            options.register_custom_ops_library(library)
        except Exception as error:
            print(json.dumps({"library": library, "text": str(error)}), flush=True)
            sys.exit(1)
    providers = [tuple(provider) for provider in request["providers"]]
    return ort.InferenceSession(request["model"], options, providers=providers, enable_fallback=0)
"""

#: A child that only loads: what became of it, as one line of JSON.
LOADING_CHILD = """
try:
    answer = {"providers": make_session().get_providers()}
except Exception as error:
    answer = {"error": type(error).__name__, "text": str(error)}
print(json.dumps(answer), flush=True)
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python that children run in.

    Attributes:
        command: What starts it.
        module_folders: Where it looks for modules; None is where this process does.
    """

    command: tuple[str, ...]
    module_folders: tuple[str, ...] | None = None


#: The one that runs this.
HERE = Interpreter((sys.executable,))


def start_child(
    script: str, request: Mapping[str, Any], *arguments: str, interpreter: Interpreter = HERE
) -> subprocess.Popen[str]:
    """A Python process that runs ``script``, in which ``make_session()`` makes the session that ``request`` describes.

    Args:
        script: Python; ``sys``, ``json``, ``ort`` and ``request`` are there, further ``arguments`` from ``sys.argv[2]`` on.
        request: ``model`` (a path), ``providers``, ``threads``, ``optimize``, ``session_options`` and ``custom_ops``.
        arguments: For the script.
        interpreter: The Python that runs it.
    """
    folders = interpreter.module_folders or [os.path.abspath(entry) for entry in sys.path if entry]
    script = _CHILD_PROLOGUE + script
    command = [*interpreter.command, "-c", script, json.dumps(request), *arguments, "\n".join(folders)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def ask_child(script: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """The line of JSON that such a child prints, or ``{"died": how}`` where it ended without."""
    with start_child(script, request) as child:
        try:
            output, errors = child.communicate()
        except BaseException:
            child.kill()
            raise
    line = output.strip().splitlines()[-1] if output.strip() else ""
    if line.startswith("{"):
        answer: dict[str, Any] = json.loads(line)
        return answer
    return {"died": describe_death(child.returncode, errors)}


def describe_death(code: int, errors: str) -> str:
    """``signal 11 (SIGSEGV)`` of a return code, or its number and the last line of what the process said."""
    if code < 0:
        names = {int(one): one.name for one in signal.Signals}
        return f"signal {-code} ({names.get(-code, 'unknown')})"
    last_lines = errors.strip().splitlines()[-1:]
    return f"exit code {code}" + "".join(f" ({line})" for line in last_lines)
