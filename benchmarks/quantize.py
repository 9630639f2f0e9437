"""int8 beside the peers', in one interleaved run: speed, agreement, SQNR and KL, each with its interval.

    python benchmarks/quantize.py                          # the three labelled models of the zoo
    python benchmarks/quantize.py --nncf /path/to/python   # with NNCF, which wants an environment of its own
    python benchmarks/quantize.py --others                 # the five unlabelled models, on inputs of their kind

"Hand-tuned" is onnxruntime's ``quant_pre_process`` and ``quantize_static`` with QDQ, per channel, uint8 activations, int8
weights and percentile calibration (99.999) on the same 128 images, one by one: settings its users must know to ask for.
Its percentile calibration of 224×224 models takes about 9 GB. Every tool makes its model in a process of its own, which
imports nothing else and whose seconds (of quantising alone) and peak memory are printed; models and images are the zoo's
($ONNXSLIM_ZOO).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxslim.core.errors import OnnxslimError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.memory import read_process_peak
from onnxslim.runtime.session import Session, version
from onnxslim.simplification.step import simplify

#: Images for calibration and for judging.
CALIBRATION, EVALUATION = 128, {"cifar10_resnet56": 10_000}
#: Model → speed against hand-tuned, agreement in per cent, SQNR in dB.
TO_REACH = {
    "mobilenet_v2": (1.08, 97.0, 22.5),
    "efficientnet_lite0": (1.05, 98.0, 22.0),
    "cifar10_resnet56": (1.0, 98.8, 28.5),
}

_NNCF = """
import json, sys, time, numpy as np, onnx, nncf
model, data, out = sys.argv[1:]
x = np.load(data)["input"]
started = time.perf_counter()
made = nncf.quantize(onnx.load(model), nncf.Dataset([{"input": row[None]} for row in x]), subset_size=len(x))
seconds = time.perf_counter() - started
onnx.save(made, out)
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"seconds": seconds, "peak": peak}))
"""


def ours(model: Path, data: Path, out: Path, placement: str) -> dict[str, Any]:
    """Our own: simplify and quantize, nothing chosen by hand."""
    simple, _ = simplify(model)
    samples = open_samples(str(data), simple)
    result, report = quantize(simple, samples, QuantizeOptions(placement=placement))
    model_file.save(result, out)
    return {"parts": report.details["seconds"], "seconds": report.seconds, "changed": report.changed}


def hand_tuned(model: Path, data: Path, out: Path) -> dict[str, Any]:
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

    prepared, started = out.with_suffix(".prepared.onnx"), time.perf_counter()
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
    return {"seconds": time.perf_counter() - started}


def make(tool: str, model: Path, data: Path, out: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Let ``tool`` make ``out`` in a process of its own, or use what an earlier run left; what it said about it."""
    note = out.with_suffix(".json")
    if note.exists():
        found: dict[str, Any] = json.loads(note.read_text())
        return found
    paths = [str(model), str(data), str(out)]
    if tool == "nncf":
        command = [arguments.nncf, "-c", _NNCF, *paths]
    else:
        command = [sys.executable, __file__, "--make", tool, *paths, "--placement", arguments.placement]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = child.stdout.strip().splitlines()
    if child.returncode or not lines:
        raise SystemExit(f"{tool} failed on {model.name}:\n{child.stderr[-2000:]}")
    note.write_text(lines[-1])
    return make(tool, model, data, out, arguments)


def child(tool: str, model: str, data: str, out: str, placement: str) -> None:
    """What the process of one tool does: make the model, print seconds and peak memory as JSON."""
    paths = Path(model), Path(data), Path(out)
    try:
        found = ours(*paths, placement) if tool == "ours" else hand_tuned(*paths)
    except OnnxslimError as error:
        found = {"refused": f"exit {error.exit_code}: {error.message} ({error.hint})"}
    print(json.dumps({**found, "peak": read_process_peak()}))


def labelled(name: str, arguments: argparse.Namespace, folder: Path) -> None:
    """Make every candidate of one model, time them in turn, judge each on the evaluation images, and print."""
    from inputs import ZOO, load_zoo

    from onnxslim.runtime.timing import interleave
    from onnxslim.validation.evaluation import evaluate
    from onnxslim.validation.statistics import ratio_interval

    zoo = load_zoo()
    calibration, evaluation, prepare = zoo.LABELLED[name]
    original, data = ZOO / f"{name}.onnx", folder / f"{name}.npz"
    if not data.exists():
        np.savez(data, input=prepare(zoo.images(calibration, 0, CALIBRATION)[0]))
    images, labels = zoo.images(evaluation, 0, EVALUATION.get(name))
    paths, made = {"float": original}, {"float": {"seconds": 0.0, "peak": 0}}
    for tool in ("ours", "hand-tuned", *(["nncf"] if arguments.nncf else [])):
        paths[tool] = folder / f"{name}.{tool}.onnx"
        made[tool] = make(tool, original, data, paths[tool], arguments)
    sessions = {tool: Session(model_file.load(path)) for tool, path in paths.items()}
    feeds = [{"input": prepare(images[i : i + 1])} for i in range(8)]
    timing = interleave(sessions, feeds, rounds=arguments.rounds, seconds=60)
    del sessions
    held = open_samples({"input": prepare(images), "labels": labels}, model_file.load(original))
    print(f"\n{name}: {CALIBRATION} calibration images, {len(labels)} judged, 1 thread, batch 1")
    print(f"{'':12}{'ms':>8}{'× float':>20}{'top-1':>8}{'agree, 95 %':>21}{'SQNR':>7}{'KL':>9}{'made in':>9}{'peak MB':>9}")
    figures = {}
    for tool, path in paths.items():
        judged = evaluate(model_file.load(path), held, reference=original)
        agreement = judged.find("agreement")
        assert agreement is not None
        # the interval is of the difference from the original, which agrees with itself
        bounds = [100 * (1 - bound) for bound in reversed(agreement.interval or (0.0, 0.0))]
        low, high = ratio_interval(timing.rounds["float"], timing.rounds[tool])
        outputs = judged.outputs["output"].as_json()
        sqnr = outputs["sqnr_db"] if outputs["sqnr_db"] is not None else float("inf")
        figures[tool] = (100 * agreement.result, sqnr)
        print(
            f"{tool:12}{1e3 * timing.median(tool):8.3f}{timing.ratio('float', tool):8.2f} ({low:.2f}–{high:.2f})"
            f"{100 * judged.metric.result:8.2f}{100 * agreement.result:8.2f} ({bounds[0]:.1f}–{bounds[1]:.1f})"
            f"{sqnr:7.2f}{outputs['kl'] or 0:9.5f}{made[tool]['seconds']:8.1f}s{made[tool]['peak'] // 2**20:9d}"
        )
    low, high = ratio_interval(timing.rounds["hand-tuned"], timing.rounds["ours"])
    ratio, wanted = timing.ratio("hand-tuned", "ours"), TO_REACH[name]
    print(f"ours against hand-tuned: {ratio:.3f} × ({low:.3f}–{high:.3f})")
    reached = zip(("speed", "agreement", "SQNR"), (ratio, *figures["ours"]), wanted, strict=True)
    print("to reach: " + ", ".join(f"{what} {goal:g}: {'yes' if own >= goal else 'NO'}" for what, own, goal in reached))
    print(f"our seconds: {_parts(made['ours'])}")


def other(name: str, arguments: argparse.Namespace, folder: Path) -> None:
    """One unlabelled model on inputs of its kind: what the result loses and gains, or why it was refused."""
    from inputs import MAKERS, ZOO

    from onnxslim.runtime.timing import interleave
    from onnxslim.validation.evaluation import evaluate
    from onnxslim.validation.statistics import ratio_interval

    original, out = ZOO / f"{name}.onnx", folder / f"{name}.ours.onnx"
    for use, seed in (("calib", 0), ("eval", 1)):
        if not (folder / f"{name}.{use}.npz").exists():
            np.savez(folder / f"{name}.{use}.npz", **MAKERS[name](CALIBRATION, seed))  # type: ignore[arg-type]
    made = make("ours", original, folder / f"{name}.calib.npz", out, arguments)
    print(f"\n{name}: {CALIBRATION} calibration inputs, {CALIBRATION} judged, 1 thread, batch 1")
    if "refused" in made:
        print(f"refused, {made['refused']}")
        return
    held = open_samples(str(folder / f"{name}.eval.npz"), model_file.load(original))
    sessions = {"float": Session(model_file.load(original)), "ours": Session(model_file.load(out))}
    feeds = [dict(feed) for feed, _ in zip(held.batches(1), range(8), strict=False)]
    timing = interleave(sessions, feeds, rounds=arguments.rounds, seconds=30)
    low, high = ratio_interval(timing.rounds["float"], timing.rounds["ours"])
    times = ", ".join(f"{tool} {1e3 * timing.median(tool):.3f} ms" for tool in sessions)
    print(f"{times}: {timing.ratio('float', 'ours'):.2f} × ({low:.2f}–{high:.2f}); {made['changed']}")
    for output, judged in evaluate(model_file.load(out), held, reference=original).outputs.items():
        sqnr = judged.as_json()["sqnr_db"]
        print(f"  {output}: {'equal' if sqnr is None else f'{sqnr:.1f} dB'}")
    print(f"our seconds: {_parts(made)}")


def _parts(made: Mapping[str, Any]) -> str:
    return ", ".join(f"{part} {seconds:.1f}" for part, seconds in made["parts"].items())


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="by default the labelled ones")
    parser.add_argument("--nncf", metavar="PYTHON", help="an interpreter that can import nncf")
    parser.add_argument("--others", action="store_true", help="the five unlabelled models")
    parser.add_argument("--folder", type=Path, help="keep the models here, and use those that are there already")
    parser.add_argument("--placement", default="measured", choices=["measured", "static"])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--make", nargs=4, metavar=("TOOL", "MODEL", "DATA", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        child(*arguments.make, arguments.placement)
        return
    from inputs import MAKERS

    print(f"onnxruntime {version()}, onnx {onnx.__version__}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.models or (MAKERS if arguments.others else TO_REACH):
            (labelled if name in TO_REACH else other)(name, arguments, folder)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
