"""int8 beside the peers', in one interleaved run: speed, agreement, SQNR and KL, each with its interval.

    python benchmarks/quantize.py                       # the three labelled models of the zoo
    python benchmarks/quantize.py --nncf /path/to/python   # with NNCF, which wants an environment of its own

"Hand-tuned" is onnxruntime's ``quant_pre_process`` and ``quantize_static`` with QDQ, per channel, uint8 activations, int8
weights and percentile calibration (99.999) on the same 128 images, one by one: settings its users must know to ask for.
Its percentile calibration of 224×224 models takes about 9 GB. The models and images are the zoo's ($ONNXSLIM_ZOO).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx

from onnxslim import io
from onnxslim.data.sources import open_samples
from onnxslim.quantize import QuantizeOptions, quantize
from onnxslim.runtime.session import Session, version
from onnxslim.runtime.timing import interleave
from onnxslim.simplify import simplify
from onnxslim.validate.evaluate import evaluate
from onnxslim.validate.statistics import ratio_interval

ZOO = Path(os.environ.get("ONNXSLIM_ZOO", Path(__file__).resolve().parents[2] / "shared" / "zoo"))
#: Images for calibration and for judging.
CALIBRATION, EVALUATION = 128, {"cifar10_resnet56": 10_000}

_NNCF = """
import sys, numpy as np, onnx, nncf
model, data, out = sys.argv[1:]
x = np.load(data)["input"]
onnx.save(nncf.quantize(onnx.load(model), nncf.Dataset([{"input": row[None]} for row in x]), subset_size=len(x)), out)
"""


def load_zoo() -> ModuleType:
    """The zoo's reader."""
    spec = importlib.util.spec_from_file_location("zoo_load", ZOO / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ours(model: Path, data: Path, out: Path) -> None:
    """Our own: simplify and quantize, nothing chosen by hand."""
    simple, _ = simplify(model)
    result, _ = quantize(simple, open_samples(str(data), simple), QuantizeOptions())
    io.save(result, out)


def hand_tuned(model: Path, data: Path, out: Path) -> None:
    """Onnxruntime's quantiser with the settings that an expert would ask for."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rows = iter(np.load(data)["input"])

        def get_next(self) -> dict[str, np.ndarray] | None:
            row = next(self.rows, None)
            return None if row is None else {"input": row[None]}

    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(model), str(prepared))
    quantize_static(
        str(prepared),
        str(out),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={"CalibPercentile": 99.999},
    )


def nncf(python: str) -> Callable[[Path, Path, Path], None]:
    """NNCF, run by the interpreter of its own environment."""

    def make(model: Path, data: Path, out: Path) -> None:
        subprocess.run([python, "-c", _NNCF, str(model), str(data), str(out)], check=True, capture_output=True)

    return make


def table(name: str, makers: dict[str, Callable[[Path, Path, Path], None]], folder: Path) -> None:
    """Make every candidate of one model, time them in turn, judge each on the evaluation images, and print."""
    zoo = load_zoo()
    calibration, evaluation, prepare = zoo.LABELLED[name]
    original, data = ZOO / f"{name}.onnx", folder / f"{name}.npz"
    np.savez(data, input=prepare(zoo.images(calibration, 0, CALIBRATION)[0]))
    images, labels = zoo.images(evaluation, 0, EVALUATION.get(name))
    paths, seconds = {"float": original}, {"float": 0.0}
    for tool, make in makers.items():
        paths[tool] = folder / f"{name}.{tool}.onnx"
        started = time.perf_counter()
        make(original, data, paths[tool])
        seconds[tool] = time.perf_counter() - started
    sessions = {tool: Session(io.load(path)) for tool, path in paths.items()}
    feeds = [{"input": prepare(images[i : i + 1])} for i in range(8)]
    timing = interleave(sessions, feeds, rounds=100, seconds=30)
    held = open_samples({"input": prepare(images), "labels": labels}, io.load(original))
    print(f"\n{name}: {CALIBRATION} calibration images, {len(labels)} judged, 1 thread, batch 1")
    print(f"{'':14}{'ms':>8}{'× float':>16}{'top-1':>8}{'agree':>8}{'± ':>7}{'SQNR':>7}{'KL':>9}{'made in':>9}")
    for tool, path in paths.items():
        judged = evaluate(io.load(path), held, reference=original)
        agreement = judged.find("agreement")
        assert agreement is not None
        spread = (agreement.interval[1] - agreement.interval[0]) / 2 if agreement.interval else float("nan")
        low, high = ratio_interval(timing.rounds["float"], timing.rounds[tool])
        outputs = judged.outputs["output"].as_json()
        print(
            f"{tool:14}{1e3 * timing.median(tool):8.3f}{timing.ratio('float', tool):6.2f} ({low:.2f}–{high:.2f})"
            f"{100 * judged.metric.result:8.2f}{100 * agreement.result:8.2f}{100 * spread:7.2f}"
            f"{outputs['sqnr_db'] if outputs['sqnr_db'] is not None else float('inf'):7.2f}"
            f"{outputs['kl'] or 0:9.5f}{seconds[tool]:8.1f}s"
        )
    if "hand-tuned" in sessions:
        low, high = ratio_interval(timing.rounds["hand-tuned"], timing.rounds["ours"])
        print(f"ours against hand-tuned: {timing.ratio('hand-tuned', 'ours'):.3f}× ({low:.3f}–{high:.3f})")


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["mobilenet_v2", "efficientnet_lite0", "cifar10_resnet56"])
    parser.add_argument("--nncf", metavar="PYTHON", help="an interpreter that can import nncf")
    arguments = parser.parse_args()
    makers = {"ours": ours, "hand-tuned": hand_tuned}
    if arguments.nncf:
        makers["nncf"] = nncf(arguments.nncf)
    print(f"onnxruntime {version()}, onnx {onnx.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.models:
            table(name, makers, Path(folder))
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
