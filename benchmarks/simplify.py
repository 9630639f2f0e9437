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
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

#: What each tool runs, with SOURCE and TARGET on the command line; ``start`` is taken after the imports.
TOOLS = {
    "ours": (
        "from onnxslim import io\nfrom onnxslim.simplify import simplify, SimplifyOptions",
        "model, _ = simplify(source, SimplifyOptions(max_fold_bytes=FOLD)); io.save(model, target)",
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


class UnbuildableError(Exception):
    """A row that cannot be built here, and why."""


def light(name: str) -> Callable[[Path, argparse.Namespace], Path]:
    """A model of the onnx wheel; its weights are ConstantOfShape nodes, so folding is allowed to grow these."""
    return lambda folder, args: Path(onnx.__file__).parent / "backend/test/data/light" / f"light_{name}.onnx"


def drawn(name: str) -> Callable[[Path, argparse.Namespace], Path]:
    """The same with seeded random initializers for those nodes, so that no two weights are equal and outputs differ."""

    def build(folder: Path, args: argparse.Namespace) -> Path:
        model = onnx.load(light(name)(folder, args))
        graph, rng = model.graph, np.random.default_rng(0)
        sizes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        for node in [node for node in graph.node if node.op_type == "ConstantOfShape"]:
            size = sizes[node.input[0]]
            uniform = len(size) < 2  # a bias, or a mean, a variance, a scale
            fan_in = max(1, int(np.prod(size[1:])))
            array = rng.uniform(0.5, 1.5, size) if uniform else rng.standard_normal(size) * (2 / fan_in) ** 0.5
            graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), node.output[0]))
            graph.node.remove(node)
        model.ir_version = max(model.ir_version, 4)  # where initializers need not be inputs, and those that are may vary
        constant = {tensor.name for tensor in graph.initializer}
        for info in [info for info in graph.input if info.name in constant]:
            graph.input.remove(info)
        path = folder / f"drawn_{name}.onnx"
        onnx.save(model, path)
        return path

    return build


def zoo(name: str) -> Callable[[Path, argparse.Namespace], Path]:
    """A file of the folder of real models."""

    def build(folder: Path, args: argparse.Namespace) -> Path:
        path = Path(args.zoo) / f"{name}.onnx"
        if not path.exists():
            raise UnbuildableError(f"no {path}")
        return path

    return build


def chain(length: int) -> Callable[[Path, argparse.Namespace], Path]:
    """A chain of ``length`` elementwise nodes that nothing can shorten."""

    def build(folder: Path, args: argparse.Namespace) -> Path:
        nodes, last = [], "x"
        for index in range(length):
            op_type = ("Sin", "Sigmoid", "Tanh", "Exp")[index % 4]
            nodes.append(helper.make_node(op_type, [last], [f"v{index}"], name=f"n{index}"))
            last = f"v{index}"
        shape = ["batch", 8]
        graph = helper.make_graph(
            nodes,
            "chain",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)],
        )
        path = folder / f"chain_{length}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    return build


def large(folder: Path, args: argparse.Namespace) -> Path:
    """2.4 GB of float32 weights beside the model: 36 square linear layers of 4096, with Identities to remove."""
    nodes, tensors, last, side, layers = [], [], "x", 4096, 36
    block = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32) / side**0.5
    for index in range(layers):
        weight = block * np.float32(1 + index / layers)
        tensors += [numpy_helper.from_array(weight, f"w{index}"), numpy_helper.from_array(weight[0], f"b{index}")]
        nodes += [
            helper.make_node("Identity", [last], [f"i{index}"]),
            helper.make_node("MatMul", [f"i{index}", f"w{index}"], [f"m{index}"]),
            helper.make_node("Add", [f"m{index}", f"b{index}"], [f"a{index}"]),
            helper.make_node("Relu", [f"a{index}"], [f"r{index}"]),
        ]
        last = f"r{index}"
    shape = ["batch", side]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)],
        tensors,
    )
    path = folder / "large.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=True, location="large.onnx.data")
    return path


def resnet50(*, dynamo: bool) -> Callable[[Path, argparse.Namespace], Path]:
    """torchvision's ResNet-50 with random weights, exported with its BatchNormalizations."""

    def build(folder: Path, args: argparse.Namespace) -> Path:
        torch = _torch()
        model = _torchvision(args).models.resnet50(weights=None).eval()
        image = torch.randn(1, 3, 224, 224)
        path = folder / f"resnet50_{'dynamo' if dynamo else 'torchscript'}.onnx"
        names: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"]}
        if dynamo:
            torch.onnx.export(model, (image,), dynamo=True, optimize=False, verbose=False, **names).save(path)
        else:
            mode = torch.onnx.TrainingMode.PRESERVE
            torch.onnx.export(
                model, image, path, dynamo=False, opset_version=17, do_constant_folding=False, training=mode, **names
            )
        return path

    return build


def encoder(*, dynamo: bool) -> Callable[[Path, argparse.Namespace], Path]:
    """An encoder of 6 layers: width 384, 6 heads, feed-forward 1536, vocabulary 1000; batch and length are free."""

    def build(folder: Path, args: argparse.Namespace) -> Path:
        torch = _torch()
        model = _encoder(torch).eval()
        ids = torch.randint(0, 1000, (2, 16))
        path = folder / f"encoder_{'dynamo' if dynamo else 'torchscript'}.onnx"
        names: dict[str, Any] = {"input_names": ["ids"], "output_names": ["hidden"]}
        if dynamo:
            axes = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=512)},)
            program = torch.onnx.export(
                model, (ids,), dynamo=True, optimize=False, verbose=False, dynamic_shapes=axes, **names
            )
            program.save(path)
        else:
            axes = {"ids": {0: "batch", 1: "length"}, "hidden": {0: "batch", 1: "length"}}
            torch.onnx.export(model, ids, path, dynamo=False, opset_version=17, dynamic_axes=axes, **names)
        return path

    return build


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise UnbuildableError("torch is not installed") from error
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    return torch


def _torchvision(args: argparse.Namespace) -> Any:
    """torchvision without its compiled library: the ops it registers shapes for are declared, never run."""
    torch = _torch()
    if args.torchvision is None:
        raise UnbuildableError("--torchvision is not given")
    sys.path.insert(0, args.torchvision)
    if "torchvision" not in sys.modules:
        text = (Path(args.torchvision) / "torchvision/_meta_registrations.py").read_text()
        library = torch.library.Library("torchvision", "DEF")
        for name in dict.fromkeys(re.findall(r'register_fake\("torchvision::(\w+)"', text)):
            library.define(f"{name}(Tensor a) -> Tensor")
        torch._onnxslim_keeps_declared_ops = library
    import torchvision

    return torchvision


def _encoder(torch: Any) -> Any:
    nn = torch.nn

    class Layer(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v, self.o = (nn.Linear(384, 384) for _ in range(4))
            self.up, self.down = nn.Linear(384, 1536), nn.Linear(1536, 384)
            self.n1, self.n2 = nn.LayerNorm(384), nn.LayerNorm(384)

        def forward(self, x: Any) -> Any:
            batch, length, _ = x.shape
            q, k, v = (part(x).view(batch, length, 6, 64).transpose(1, 2) for part in (self.q, self.k, self.v))
            weights = (q @ k.transpose(-2, -1) / 8.0).softmax(-1)
            mixed = (weights @ v).transpose(1, 2).reshape(batch, length, 384)
            x = self.n1(x + self.o(mixed))
            return self.n2(x + self.down(nn.functional.gelu(self.up(x))))

    class Encoder(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(1000, 384), nn.Embedding(512, 384)
            self.norm = nn.LayerNorm(384)
            self.layers = nn.ModuleList(Layer() for _ in range(6))

        def forward(self, ids: Any) -> Any:
            places = torch.arange(ids.shape[1]).unsqueeze(0).expand_as(ids)
            x = self.norm(self.words(ids) + self.places(places))
            for layer in self.layers:
                x = layer(x)
            return x

    return Encoder()


ROWS: dict[str, tuple[Callable[[Path, argparse.Namespace], Path], int | None]] = {
    "light densenet121": (light("densenet121"), 1 << 30),
    "light inception_v2": (light("inception_v2"), 1 << 30),
    "light shufflenet": (light("shufflenet"), 1 << 30),
    "light resnet50": (light("resnet50"), 1 << 30),
    "drawn densenet121": (drawn("densenet121"), None),
    "drawn inception_v2": (drawn("inception_v2"), None),
    "drawn shufflenet": (drawn("shufflenet"), None),
    "drawn resnet50": (drawn("resnet50"), None),
    "resnet50 TorchScript": (resnet50(dynamo=False), None),
    "resnet50 dynamo": (resnet50(dynamo=True), None),
    "encoder TorchScript": (encoder(dynamo=False), None),
    "encoder dynamo": (encoder(dynamo=True), None),
    "mobilenet_v2": (zoo("mobilenet_v2"), None),
    "silero": (zoo("silero_vad_16k_op15"), None),
    "basic_pitch": (zoo("basic_pitch_nmp"), None),
    "efficientnet_lite0": (zoo("efficientnet_lite0"), None),
    "cifar10_resnet56": (zoo("cifar10_resnet56"), None),
    "magika": (zoo("magika_standard_v3_3"), None),
    "nudenet": (zoo("nudenet_320n_yolov8"), None),
    "ppocrv5_det": (zoo("ppocrv5_det"), None),
    "chain 4000": (chain(4000), None),
    "chain 20000": (chain(20000), None),
    "2.4 GB": (large, None),
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
    program = (
        "import json, logging, re, sys, time\nlogging.disable(logging.CRITICAL)\n"
        f"source, target = sys.argv[1:]\n{imports}\nstart, work = time.perf_counter(), time.process_time()\n"
        f"{call.replace('FOLD', repr(fold))}\n"
        "seconds, work = time.perf_counter() - start, time.process_time() - work\n"
        "peak = int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "print('\\nRESULT ' + json.dumps({'seconds': seconds, 'cpu_seconds': work, 'peak_mb': peak // 1024}))"
    )
    try:
        done = subprocess.run(
            [python, "-c", program, str(source), str(target.resolve())],
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
            result = run_tool(
                sys.executable if tool == "ours" else args.peers, tool, source, target, fold, args.timeout
            )
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
