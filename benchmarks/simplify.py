"""Simplification beside the peers: nodes left, seconds, size, load time, latency, and whether the outputs are equal.

    python benchmarks/simplify.py --peers .peers/bin/python --models .models [--zoo FOLDER] [ROW ...]

Every tool runs in a process of its own, from file to file; its seconds are what it takes to load, simplify and save,
imports aside. Nodes are counted with nested graphs. Outputs are compared with the runtime's optimisation off, over 5
seeds and 2 sizes of every free dimension, as max|a - b| / max|a|.

``--peers`` is the Python of an environment with ``onnxslim==0.1.98 onnxsim==0.8.1 onnxscript onnxruntime`` (not this
one: the first installs the same package name). Rows that export from PyTorch need torch and onnxscript here;
torchvision's ResNet-50 is imported without its compiled ops (``pip install --no-deps --target DIR torchvision``,
``--torchvision DIR``). A row that cannot be built here says why and is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from simplify_rows import ROWS, UnbuildableError

#: What each tool runs, with SOURCE and TARGET on the command line; ``start`` is taken after the imports.
TOOLS = {
    "ours": (
        "from onnxslim.model_io import model_file\nfrom onnxslim.simplification.step import simplify, SimplifyOptions",
        "model, _ = simplify(source, SimplifyOptions(max_fold_bytes=FOLD)); model_file.save(model, target)",
    ),
    "onnxslim 0.1.98": ("import onnxslim", "onnxslim.slim(source, target)"),
    "onnxsim 0.8.1": ("import onnx, onnxsim", "onnx.save(onnxsim.simplify(onnx.load(source))[0], target)"),
    "onnxscript": (
        "import onnx_ir, onnxscript.optimizer",
        "model = onnx_ir.load(source); onnxscript.optimizer.optimize(model); onnx_ir.save(model, target)",
    ),
    "ORT basic": (
        "import onnxruntime as ort",
        "o = ort.SessionOptions(); o.optimized_model_filepath = target; o.log_severity_level = 4; "
        "o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC; "
        "ort.InferenceSession(source, o, providers=['CPUExecutionProvider'])",
    ),
}


#: Free dimensions (two sizes each) and inputs whose values mean something.
SIZES = (
    {"sequence": 512, "length": 7, "d1": 96, "d2": 64, "height": 96, "width": 64},
    {"sequence": 512, "batch": 3, "length": 16, "d0": 2, "d1": 64, "d2": 96, "height": 64, "width": 96},
)
FIXED = {"sr": np.asarray(16000, np.int64)}


def run_tool(python: str, name: str, source: Path, target: Path, fold: int | None, timeout: float) -> dict[str, Any]:
    """Seconds and peak memory of one tool from file to file, or its last line of complaint."""
    imports, call = TOOLS[name]
    return run_program(python, imports, call.replace("FOLD", repr(fold)), source, target, timeout)


def run_program(python: str, imports: str, call: str, source: Path, target: Path, timeout: float) -> dict[str, Any]:
    """The same of any call that makes ``target`` of ``source``."""
    program = (
        "import json, logging, re, sys, time\nlogging.disable(logging.CRITICAL)\n"
        f"source, target = sys.argv[1:]\n{imports}\nstart, work = time.perf_counter(), time.process_time()\n"
        f"{call}\n"
        "seconds, work = time.perf_counter() - start, time.process_time() - work\n"
        "peak = int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "print('\\nRESULT ' + json.dumps({'seconds': seconds, 'cpu_seconds': work, 'peak_mb': peak // 1024}))"
    )
    # one of the peers has our name: what this process finds first is not what theirs should
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" or python == sys.executable}
    try:
        done = subprocess.run(
            [python, "-c", program, str(source), str(target.resolve())],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=target.parent,  # from the checkout, its onnxslim would hide the peer's
        )
    except subprocess.TimeoutExpired:
        return {"error": f"more than {timeout:.0f} s"}
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return dict(json.loads(line.removeprefix("RESULT ")))
    return {"error": (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:120]}


def session(path: Path, *, optimize: bool) -> ort.InferenceSession:
    """A one-thread session on ``path``."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def feeds(runner: ort.InferenceSession, seed: int, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Random inputs for ``runner``."""
    rng = np.random.default_rng(seed)
    found = {}
    for info in runner.get_inputs():
        size = [dim if isinstance(dim, int) else sizes.get(dim, 1) for dim in info.shape]
        floats = "float" in info.type
        array = rng.standard_normal(size).astype(np.float32) if floats else rng.integers(0, 100, size)
        kind = {"tensor(int32)": np.int32, "tensor(int64)": np.int64}.get(info.type, np.float32)
        found[info.name] = FIXED.get(info.name, array.astype(kind))
    return found


def equality(source: Path, target: Path, seeds: int) -> float:
    """The largest max|a - b| / max|a|."""
    one, two = session(source, optimize=False), session(target, optimize=False)
    worst = 0.0
    for sizes in SIZES:
        for seed in range(seeds):
            fed = feeds(one, seed, sizes)
            for a, b in zip(one.run(None, fed), two.run(None, fed), strict=True):
                worst = max(worst, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)))
    return worst


def measure(source: Path, target: Path, seeds: int) -> dict[str, Any]:
    """Nodes, bytes and equality of a result."""
    model = ir.load(str(target))
    values = (value.const_value for value in model.graph.initializers.values())
    beside = {target.parent / tensor.location for tensor in values if isinstance(tensor, ir.ExternalTensor)}
    found: dict[str, Any] = {
        "nodes": sum(1 for _ in model.graph.all_nodes()),
        "bytes": sum(file.stat().st_size for file in (target, *beside)),
    }
    try:
        if seeds:
            found["error_rel"] = equality(source, target, seeds)
    except Exception as error:  # a peer's result may be anything; the table says what it is
        found["error"] = "does not run: " + str(error).splitlines()[0][:80]
    return found


def _turned(each: dict[str, Any], number: int) -> list[tuple[str, Any]]:
    """In another order in every round: what runs after a large model finds the caches full of it."""
    items = list(each.items())
    shift = number % max(1, len(items))
    return items[shift:] + items[:shift]


def loads(targets: dict[str, Path], rounds: int = 7) -> dict[str, float]:
    """Median seconds until a session on each file stands, in rounds as in :func:`latencies`."""
    times: dict[str, list[float]] = {name: [] for name in targets}
    for number in range(rounds):
        for name, path in _turned(targets, number):
            start = time.perf_counter()
            session(path, optimize=True)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def latencies(targets: dict[str, Path], rounds: int = 60) -> dict[str, float]:
    """Median milliseconds of each file in rounds that run every one once, so that all meet the same machine."""
    sessions = {name: session(path, optimize=True) for name, path in targets.items()}
    times: dict[str, list[float]] = {name: [] for name in sessions}
    fed = feeds(next(iter(sessions.values())), 0, SIZES[0]) if sessions else {}
    for number in range(rounds):
        for name, runner in _turned(sessions, number):
            start = time.perf_counter()
            runner.run(None, fed)
            times[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(each) for name, each in times.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table, and one JSON line a result with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="parts of row names; all by default")
    parser.add_argument("--peers", help="the Python of an environment with the peers")
    parser.add_argument("--models", default="benchmarks/.models", help="where built models are kept")
    parser.add_argument("--zoo", default=os.environ.get("ONNXSLIM_ZOO", "../shared/zoo"))
    parser.add_argument("--torchvision", help="a folder with torchvision installed by --no-deps --target")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    folder = Path(args.models)
    folder.mkdir(parents=True, exist_ok=True)
    for row, (build, fold) in ROWS.items():
        if args.rows and not any(part in row for part in args.rows):
            continue
        try:
            kept = folder / f"{row.replace(' ', '_')}.path"
            source = Path(kept.read_text()) if kept.exists() else build(folder, args).resolve()
            kept.write_text(str(source))
        except UnbuildableError as error:
            print(f"{row}: left out, {error}")
            continue
        print(f"{row}: {sum(1 for _ in ir.load(str(source)).graph.all_nodes())} nodes")
        results: dict[str, dict[str, Any]] = {}
        targets: dict[str, Path] = {}
        for tool in TOOLS:
            if tool != "ours" and args.peers is None:
                continue
            target = folder / "out" / tool.split()[0] / f"{source.stem}.onnx"
            target.parent.mkdir(parents=True, exist_ok=True)
            for stale in target.parent.glob(f"{source.stem}.onnx*"):
                stale.unlink()
            result = run_tool(sys.executable if tool == "ours" else args.peers, tool, source, target, fold, args.timeout)
            if "error" not in result:
                seeds = 0 if source.stem in ("large", "chain_20000") else args.seeds
                result |= measure(source, target, seeds)
                if seeds and "error" not in result:
                    targets[tool] = target
            results[tool] = result
        for tool, seconds in loads(targets).items():
            results[tool]["load_s"] = seconds
        for tool, milliseconds in latencies(targets).items():
            results[tool]["latency_ms"] = milliseconds
        for tool, result in results.items():
            if args.json:
                print(json.dumps({"row": row, "tool": tool, **result}))
            else:
                print(
                    "  "
                    + "  ".join(
                        [
                            f"{tool:16s}",
                            *(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in result.items()),
                        ]
                    )
                )


if __name__ == "__main__":
    main()
