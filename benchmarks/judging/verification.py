"""A result beside its original, seen by nothing but onnxruntime: what it keeps, its size, and its speed in turn.

    python -m judging.verification MODEL RESULT DATA [--state OUT=IN|auto ...] [--natural SPEC --judges natural.py]

prints one JSON object. It runs in a process of its own: a result that ends the runtime ends this one.
"""

from __future__ import annotations

import argparse
import filecmp
import importlib.util
import inspect
import json
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from judging.manifest_data import Feed, ManifestData, parse_states, walk

#: Outputs of both models that are kept for the judge, in bytes; what comes after is not judged, and the count says so.
MAX_HELD = 3 << 30


def count_bytes(path: Path) -> int:
    """Bytes of the model and of the files that its weights are in."""
    weights = onnx.load(path, load_external_data=False).graph.initializer
    places = {entry.value for weight in weights for entry in weight.external_data if entry.key == "location"}
    return sum((path.parent / name).stat().st_size for name in (path.name, *places))


def open_session(path: Path) -> ort.InferenceSession:
    """A one-thread session on the processor."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def load_judges(path: Path) -> ModuleType:
    """The module whose ``judge(spec, originals, results[, labels])`` says what was kept."""
    spec = importlib.util.spec_from_file_location("reach_judges", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def collect(sessions: Sequence[ort.InferenceSession], data: ManifestData, seconds: float) -> list[list[dict[str, Any]]]:
    """Outputs by name of both models, one dictionary a sample (a step, of sequences), each with its own state."""
    kept: list[list[dict[str, Any]]] = [[], []]
    started, held = time.monotonic(), 0
    for index in range(len(data)):
        if time.monotonic() - started > seconds or held > MAX_HELD:
            break
        for steps in zip(*(walk(session, data, index) for session in sessions), strict=True):
            for side, (_, outputs) in zip(kept, steps, strict=True):
                side.append({name: value for name, value in outputs.items() if name not in data.states.values()})
                held += sum(getattr(value, "nbytes", 0) for value in outputs.values())
    return kept


def judge(judges: Path, spec: str, outputs: Sequence[list[dict[str, Any]]], labels: Any) -> dict[str, Any]:
    """The figures of the judge called ``spec``; ``labels`` go to a module that takes them."""
    function = load_judges(judges).judge
    more = {"labels": labels} if "labels" in inspect.signature(function).parameters else {}
    return dict(function(spec, *outputs, **more))


def time_in_turn(sessions: Sequence[ort.InferenceSession], feed: Feed, rounds: int, seconds: float) -> dict[str, Any]:
    """How many times faster the second is: the median of the rounds' ratios, the order turned every round.

    The clock is this thread's on the processor, which what else runs on the machine does not move.
    """

    def run(session: ort.InferenceSession, count: int) -> float:
        started = time.thread_time()
        for _ in range(count):
            session.run(None, feed)
        return (time.thread_time() - started) / count

    single = max(min(run(session, 3) for _ in range(2)) for session in sessions)
    count = max(1, min(200, round(0.01 / max(single, 1e-6))))  # enough for the clock to resolve
    times: list[tuple[float, float]] = []
    deadline = time.monotonic() + seconds
    while len(times) < rounds and (len(times) < 11 or time.monotonic() < deadline):
        if len(times) % 2:
            second, first = run(sessions[1], count), run(sessions[0], count)
        else:
            first, second = run(sessions[0], count), run(sessions[1], count)
        times.append((first, second))
    first_times, second_times = np.array(times).T
    ratios = first_times / second_times
    return {
        "speed_ratio": float(np.median(ratios)),
        "speed_interval": [float(bound) for bound in np.percentile(ratios, [10, 90])],
        "milliseconds": [1e3 * float(np.median(each)) for each in (first_times, second_times)],
        "rounds": len(times),
    }


def verify(
    model: Path,
    result: Path,
    data_path: Path,
    *,
    states: Sequence[str] = (),
    spec: str | None = None,
    judges: Path | None = None,
    seconds: float = 90.0,
) -> dict[str, Any]:
    """Size, speed and what the judge called ``spec`` says of ``result``; ``seconds`` bound outputs and timing each."""
    same = filecmp.cmp(model, result, shallow=False)
    sessions = [open_session(model), open_session(model if same else result)]
    data = ManifestData(data_path, sessions[0].get_inputs(), parse_states(states, sessions[0], data_path))
    sizes = [count_bytes(path) for path in (model, result)]
    interfaces = [[sorted(each.name for each in part()) for part in (s.get_inputs, s.get_outputs)] for s in sessions]
    found: dict[str, Any] = {"bytes": sizes, "size_ratio": sizes[0] / sizes[1], "identical": same}
    found["interface_same"] = interfaces[0] == interfaces[1]
    outputs = collect(sessions, data, seconds)
    found["samples"] = len(outputs[0])
    if spec and judges:
        found["natural"] = judge(judges, spec, outputs, data.labels)
    del outputs
    feed, _ = next(walk(sessions[0], data, 0))
    found |= {"speed_ratio": 1.0} if same else time_in_turn(sessions, feed, 60, seconds)
    return found


def main() -> None:
    """Print what is found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("model", "result", "data"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--state", action="append", default=[], metavar="OUT=IN|auto")
    parser.add_argument("--natural")
    parser.add_argument("--judges", type=Path)
    parser.add_argument("--seconds", type=float, default=90.0)
    given = parser.parse_args()
    found = verify(
        given.model,
        given.result,
        given.data,
        states=given.state,
        spec=given.natural,
        judges=given.judges,
        seconds=given.seconds,
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
