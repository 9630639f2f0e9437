"""What `--target web` writes, run where it is served: onnxruntime-web in Node and in headless Chromium.

    npm install onnxruntime-web                                            # anywhere
    python benchmarks/web/web.py node_modules/onnxruntime-web [MANIFEST [NAME ...]] [--browser] [--costs]

Every model is written in float, int8, int4 and float16 and its answers are compared with the native runtime's: cosine
of all outputs, and the share of samples whose class is the same one. Times are processor time under Node, one thread,
interleaved: they are the real ones of this machine's CPU. WebGPU runs on a software adapter, for its answers only, and a
file that has not answered after ``--deadline`` seconds is told so and left.
``--costs`` times the layers that ``targets/web.py`` has its cost model from. Without a MANIFEST (``reach.py`` has its
format) the sample models are taken, on the digits or, where they read other inputs, on made-up ones. A variant that is
not written, or that a consumer does not run, is told with the reason. ``--markdown`` writes what was found as a table.
Ends with 1 where an answer differs.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from consumers import Answers, run_browser, run_node

from onnxslim.core.errors import OnnxslimError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.conformance.microbenchmarks import BENCHMARK_LAYERS
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session
from onnxslim.simplification.step import simplify

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
#: The variants, and how they are written.
VARIANTS: dict[str, dict[str, Any]] = {
    "int8": {"target": "web"},
    "int8 weights": {"target": "web", "weights": "int8"},
    "int4 weights": {"target": "web", "weights": "int4"},
    "float16": {"target": "cuda"},
}
#: What runs the files, and in Chromium with which provider.
NODE, BROWSERS = "Node, WASM", {"wasm": "Chromium, WASM", "webgpu": "Chromium, WebGPU in software"}
#: Cosine to the native answers, below which a consumer is said to answer otherwise. Of int8 the classes alone decide: deep
#: networks make of the last digits of a float layer about what rounding to 8 bits costs.
_MIN_COSINE = 0.9999
#: Samples of made-up inputs.
_MADE_UP = 64

#: By model and variant: by consumer what was found there.
Table = dict[tuple[str, str], dict[str, str]]


def find_models(given: argparse.Namespace) -> Iterator[tuple[str, Path, str]]:
    """(name, model, data) of what was asked for."""
    if given.manifest is None:
        for model in sorted(SAMPLES.glob("**/*.onnx")):
            yield model.stem, model, str(SAMPLES / "digits_calib.npz") if model.parent == SAMPLES else "random"
        return
    for entry in json.loads(given.manifest.read_text()):
        if not given.names or entry["name"] in given.names:
            yield entry["name"], given.manifest.parent / entry["model"], str(given.manifest.parent / entry["fit"])


def write_task(root: Path, name: str, model: Path, data: str, feeds: int) -> dict[str, Any]:
    """The files and feeds of one model, in a folder of ``root``."""
    folder = root / name
    folder.mkdir()
    files, refused = {"float": f"{name}/float.onnx"}, {}
    loaded = model_file.load(model)
    simple = simplify(loaded)[0]
    samples = open_samples(data, simple, max_samples=_MADE_UP if data == "random" else None)
    model_file.save(loaded, root / files["float"])
    for variant, options in VARIANTS.items():
        out = folder / f"{variant.replace(' ', '_')}.onnx"
        try:
            result, _ = quantize(simple, samples, QuantizeOptions(placement="static", **options))
            model_file.save(result, out)
            files[variant] = f"{name}/{out.name}"
        except OnnxslimError as error:
            refused[variant] = error.message
            print(f"{name}, {variant}: not written: {error.message}", flush=True)
    batches = [dict(batch) for batch in islice(samples.batches(1), feeds)]
    fed = write_feeds(root, name, batches)
    return {"name": name, "files": files, "refused": refused, "feeds": fed, "rounds": 12, "round_ms": 15}


def write_feeds(root: Path, name: str, batches: list[dict[str, np.ndarray]]) -> list[dict[str, Any]]:
    """Each tensor as a file of its bytes."""
    feeds = []
    for number, batch in enumerate(batches):
        feed = {}
        for place, (key, array) in enumerate(batch.items()):
            file = f"{name}/{number}.{place}.bin"
            (root / file).write_bytes(np.ascontiguousarray(array).tobytes())
            feed[key] = {"file": file, "dtype": array.dtype.name, "shape": list(array.shape)}
        feeds.append(feed)
    return feeds


def read_native(root: Path, task: dict[str, Any], key: str) -> list[dict[str, np.ndarray]]:
    """The native runtime's answers to the same feeds."""
    session = Session(model_file.load(root / task["files"][key]))
    feeds = [
        {name: np.frombuffer((root / t["file"]).read_bytes(), t["dtype"]).reshape(t["shape"]) for name, t in feed.items()}
        for feed in task["feeds"]
    ]
    return [dict(session.run(feed)) for feed in feeds]


def compare(native: list[dict[str, np.ndarray]], outputs: list[dict[str, Any]]) -> tuple[float, float]:
    """(cosine over all float outputs, share of samples whose class is the same; 1 where there are no classes)."""
    ours, theirs, same = [], [], []
    for expected, found in zip(native, outputs, strict=True):
        for name, array in expected.items():
            answer = np.frombuffer(base64.b64decode(found[name]["data"]), array.dtype).reshape(array.shape)
            if array.dtype.kind == "f":
                ours.append(array.astype(np.float64).ravel())
                theirs.append(answer.astype(np.float64).ravel())
                if array.ndim <= 2:  # of a map or a grid, ties decide which place is the largest
                    same.append(array.argmax() == answer.argmax())
    a, b = np.concatenate(ours), np.concatenate(theirs)
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30)), float(np.mean(same)) if same else 1.0


def show(root: Path, tasks: list[dict[str, Any]], answers: Answers, consumer: str, table: Table) -> bool:
    """Print a row for each file and put it into ``table``; whether all that run answer as the native runtime does."""
    good, timed = True, consumer == NODE
    for task in tasks:
        base = answers[task["name"]].get("float", {}).get("ms")
        for key, file in task["files"].items():
            found = answers[task["name"]][key]
            cells = table.setdefault((task["name"], key), {})
            if "error" in found:
                reason = " ".join(found["error"].split())[:160]
                cells[consumer] = f"no answer: {reason}"
                print(f"{task['name']:<22} {key:<13} {reason}")
                continue
            cosine, same = compare(read_native(root, task, key), found["outputs"])
            is_near = (cosine >= _MIN_COSINE or key == "int8") and same >= 0.999
            good &= is_near
            ratio = f"{base / found['ms']:5.2f}x" if timed and base else ""
            wrong = "" if is_near else "**differs**: "
            cells[consumer] = f"{wrong}{cosine:.6f}, {100 * same:.4g} %{f', {ratio.strip()}' if ratio else ''}"
            size = (root / file).stat().st_size
            print(f"{task['name']:<22} {key:<13} cosine {cosine:.6f}  same {same:.3f}  {size:>9} B  {ratio}")
    return good


def write_table(path: Path, tasks: list[dict[str, Any]], table: Table, consumers: list[str]) -> None:
    """A Markdown table: cosine to the native answers, share of samples of the same class, speed against float."""
    rows = [["model", "variant", *consumers], ["---"] * (2 + len(consumers))]
    for task in tasks:
        for key in ("float", *VARIANTS):
            refused = task["refused"].get(key)
            cells = table.get((task["name"], key), {})
            found = [f"not written: {refused}", *[""] * len(consumers)] if refused else [cells.get(c, "") for c in consumers]
            rows.append([task["name"], key, *found[: len(consumers)]])
    path.write_text("".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows))


def measure_costs(package: Path, root: Path) -> None:
    """How many times faster each layer of doctor's table is in int8 there."""
    tasks = []
    for number, (name, make_layer) in enumerate(BENCHMARK_LAYERS.items()):
        shape, models = make_layer()
        folder = root / str(number)
        folder.mkdir()
        for key, model in models.items():
            ir.save(model, folder / f"{key}.onnx")
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        files = {key: f"{number}/{key}.onnx" for key in models}
        feeds = write_feeds(root, str(number), [{"x": x}])
        tasks.append({"name": name, "files": files, "feeds": feeds, "rounds": 12, "round_ms": 15})
    (root / "tasks.json").write_text(json.dumps({"root": str(root), "tasks": tasks}))
    for name, found in run_node(package, root).items():
        print(f"{name:<36} {found['float']['ms'] / found['int8']['ms']:5.2f}x in int8")


def main() -> int:
    """1 where a consumer does not answer as the native runtime does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="the folder of onnxruntime-web, as npm installs it")
    parser.add_argument("manifest", type=Path, nargs="?")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--browser", action="store_true", help="in headless Chromium too, with WASM and WebGPU")
    parser.add_argument("--costs", action="store_true", help="time the layers of the cost model instead")
    parser.add_argument("--markdown", type=Path, metavar="F.md", help="write the table of what was found")
    parser.add_argument("--feeds", type=int, default=32, help="samples that are compared")
    parser.add_argument("--deadline", type=float, default=90.0, metavar="S", help="of one file in the browser (90)")
    given = parser.parse_args()
    package = given.package.resolve()
    print(f"onnxruntime-web {json.loads((package / 'package.json').read_text())['version']}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if given.costs:
            measure_costs(package, root)
            return 0
        tasks = [write_task(root, *found, given.feeds) for found in find_models(given)]
        (root / "tasks.json").write_text(json.dumps({"root": str(root), "tasks": tasks}))
        table: Table = {}
        print(f"== {NODE}", flush=True)
        good = show(root, tasks, run_node(package, root), NODE, table)
        consumers = [NODE]
        for task in tasks:
            task["rounds"] = 0  # the browser is asked for its answers alone
        (root / "tasks.json").write_text(json.dumps({"root": str(root), "tasks": tasks}))
        for provider, consumer in BROWSERS.items() if given.browser else ():
            print(f"== {consumer}", flush=True)
            consumers.append(consumer)
            try:
                good &= show(root, tasks, run_browser(package, root, provider, given.deadline), consumer, table)
            except RuntimeError as error:
                print(f"not run: {error}", flush=True)
        if given.markdown is not None:
            write_table(given.markdown, tasks, table, consumers)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
