"""Accuracy against what is left, from 10 to 60 % fewer multiply-accumulates, beside the peers, in one run.

    python benchmarks/prune.py                             # cifar10_resnet56, mobilenet_v2 and the sample digits_cnn
    python benchmarks/prune.py --onnxsim PYTHON            # with onnxsim's structured pruner, in an environment of its own
    python benchmarks/prune.py --torch-pruning PYTHON      # with Torch-Pruning, which wants PyTorch modules
    python benchmarks/prune.py cifar10_resnet56 --shares 30% 50% --speedups 1.3 1.7 2.5

Nobody trains and nobody reads a label: what is fitted sees unlabelled calibration images, what is judged are others. The
peers take rates of channels, not of multiply-accumulates, so each of them is asked for many and the one that leaves
nearest to the budget is shown. "magnitude" is ours with everything that is better about it turned off: L2, one rate for
all layers, nothing repaired. ``--speedups`` asks for measured times instead and follows each file into int8. The models
and images are the zoo's ($ONNXSLIM_ZOO) and those of ``sample_models``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
from inputs import load_zoo

from onnxslim.core.errors import OnnxslimError
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.step import prune
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session, version
from onnxslim.runtime.timing import interleave
from onnxslim.simplification.step import simplify
from onnxslim.validation.evaluation import evaluate
from onnxslim.validation.statistics import ratio_interval

ROOT = Path(__file__).resolve().parents[1]
ZOO = Path(os.environ.get("ONNXSLIM_ZOO", ROOT.parent / "shared" / "zoo"))
#: Calibration and judged images of the zoo's models.
IMAGES = {"cifar10_resnet56": (1024, 10_000), "mobilenet_v2": (256, 600), "efficientnet_lite0": (256, 600)}
SHARES = ("10%", "20%", "30%", "40%", "50%", "60%")
#: Rates of channels that the peers are asked for.
RATES = [f"{0.04 * step:.2f}" for step in range(1, 20)]
#: Whose PyTorch modules ``torch_pruning_peer.py`` can build.
MODULES = ("digits_cnn", "cifar10_resnet56", "mobilenet_v2")

_ONNXSIM = """
import sys, onnx, onnxsim
model, folder, rates = sys.argv[1], sys.argv[2], sys.argv[3:]
for rate in rates:
    try:
        onnx.save(onnxsim.apply_structured_pruning(onnx.load(model), float(rate)), f"{folder}/{rate}.onnx")
    except Exception as error:
        print(rate, error, file=sys.stderr)
"""
Made = dict[str, ir.Model]


@dataclass(frozen=True)
class Subject:
    """A model, what it is fitted on and what it is judged by."""

    name: str
    path: Path
    model: ir.Model
    fit: Samples
    judged: Samples


def subject(name: str) -> Subject:
    """A model of the zoo, or a sample."""
    sample = ROOT / "sample_models" / f"{name}.onnx"
    if sample.exists():
        model, _ = simplify(sample)
        folder = sample.parent
        fit, judged = (open_samples(str(folder / f"digits_{part}.npz"), model) for part in ("calib", "eval"))
        return Subject(name, sample, model, fit, judged)
    zoo = load_zoo()
    calibration, evaluation, prepare = zoo.LABELLED[name]
    fitted, held = IMAGES[name]
    model, _ = simplify(ZOO / f"{name}.onnx")
    images, labels = zoo.images(evaluation, 0, held)
    return Subject(
        name,
        ZOO / f"{name}.onnx",
        model,
        open_samples({"input": prepare(zoo.images(calibration, 0, fitted)[0])}, model),
        open_samples({"input": prepare(images), "labels": labels}, model),
    )


def ours(what: Subject, share: float) -> ir.Model:
    """By count alone, as the peers cut."""
    return prune(what.model, what.fit, PruneOptions(remove=share, of="macs", round_to=1))[0]


def low_rank(what: Subject, share: float) -> ir.Model:
    """With cheaper forms of layers among the choices."""
    return prune(what.model, what.fit, PruneOptions(remove=share, of="macs", round_to=1, low_rank=True))[0]


def magnitude(what: Subject, share: float) -> ir.Model:
    """What everybody starts with."""
    return prune(what.model, None, PruneOptions(remove=share, of="macs", round_to=1, criterion="l2", uniform=True))[0]


def peer(*command: str) -> Callable[[Subject, float], ir.Model]:
    """A peer run by the interpreter of its own environment, once for all rates; FOLDER in ``command`` is where it writes."""
    folder = tempfile.mkdtemp(prefix="prune-")
    subprocess.run([folder if word == "FOLDER" else word for word in command], check=True, capture_output=True)
    found = [model_file.load(path) for path in sorted(Path(folder).glob("*.onnx"))]

    def nearest(what: Subject, share: float) -> ir.Model:
        wanted = (1 - share) * compute_cost(what.model).macs
        return min(found, key=lambda model: abs(compute_cost(model).macs - wanted))

    return nearest


def rows(what: Subject, made: Made) -> Iterator[str]:
    """One line for each model, all of them timed in turn in one run."""
    sessions = {"dense": Session(what.model), **{name: Session(model) for name, model in made.items()}}
    feeds = [dict(batch) for _, batch in zip(range(8), what.judged.batches(1), strict=False)]
    timing = interleave(sessions, feeds, rounds=60, seconds=20)
    for name, model in made.items():
        found = evaluate(model, what.judged, reference=what.model)
        low, high = ratio_interval(timing.rounds["dense"], timing.rounds[name])
        before, after = compute_cost(what.model), compute_cost(model)
        sqnr = next(iter(found.outputs.values())).as_json()["sqnr_db"]
        yield (
            f"  {name:26}{after.macs / before.macs:8.1%}{after.params / before.params:8.1%}"
            f"{100 * (found.metric.original or 0):8.2f}{100 * found.metric.result:8.2f}"
            f"{sqnr if sqnr is not None else float('inf'):8.1f}"
            f"{timing.ratio('dense', name):7.2f} ({low:.2f}–{high:.2f})"
        )


def curve(what: Subject, makers: dict[str, Callable[[Subject, float], ir.Model]], shares: list[float]) -> None:
    """Print what every maker gives at every share."""
    head = f"  {'':26}{'MACs':>8}{'params':>8}{'dense':>8}{'top-1':>8}{'SQNR':>8}{'× float':>10}"
    print(f"\n{what.name}: {len(what.fit)} unlabelled images, {len(what.judged)} judged, 1 thread\n{head}", flush=True)
    for share in shares:
        made: Made = {}
        for name, make in makers.items():
            started = time.perf_counter()
            try:
                model = make(what, share)
            except OnnxslimError as error:
                print(f"  {name} -{share:.0%}: {error.message}")
                continue
            made[f"{name} -{share:.0%}, {time.perf_counter() - started:.0f} s"] = model
        print("\n".join(rows(what, made)), flush=True)


def speeds(what: Subject, ratios: list[float]) -> None:
    """Print what is left at measured speed-ups, and of the same files in int8."""
    for ratio in ratios:
        options = PruneOptions(remove=1 - 1 / ratio, of="latency")
        faster, _ = prune(what.model, what.fit, options)
        integer, _ = quantize(faster, what.fit, QuantizeOptions())
        print("\n".join(rows(what, {f"asked {ratio:g}×": faster, f"asked {ratio:g}×, int8": integer})), flush=True)


def main() -> None:
    """Print a curve for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["cifar10_resnet56", "mobilenet_v2", "digits_cnn"])
    parser.add_argument("--shares", nargs="*", default=SHARES, metavar="10%")
    parser.add_argument("--speedups", nargs="*", type=float, default=[], metavar="1.3")
    parser.add_argument("--low-rank", action="store_true", help="also with cheaper forms of layers")
    parser.add_argument("--onnxsim", metavar="PYTHON", help="an interpreter that can import onnxsim 0.8")
    parser.add_argument("--torch-pruning", metavar="PYTHON", help="an interpreter that can import torch_pruning")
    arguments = parser.parse_args()
    print(f"onnxruntime {version()}")
    for name in arguments.models:
        what = subject(name)
        makers: dict[str, Callable[[Subject, float], ir.Model]] = {"ours": ours}
        if arguments.low_rank:
            makers["ours, low rank"] = low_rank
        makers["magnitude"] = magnitude
        if arguments.onnxsim:
            makers["onnxsim"] = peer(arguments.onnxsim, "-c", _ONNXSIM, str(what.path), "FOLDER", *RATES)
        if arguments.torch_pruning and name in MODULES:
            script = str(Path(__file__).with_name("torch_pruning_peer.py"))
            makers["Torch-Pruning"] = peer(arguments.torch_pruning, script, name, str(what.path), "FOLDER", *RATES)
        curve(what, makers, [float(share.rstrip("%")) / 100 for share in arguments.shares])
        speeds(what, arguments.speedups)


if __name__ == "__main__":
    main()
