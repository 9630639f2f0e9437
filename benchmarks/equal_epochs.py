"""A network of the papers pruned and distilled, against the same network trained on for as many epochs.

    cd sample_models/papers
    python train.py resnet50 --data-root DATA --progressive --epochs 26 -o OUT/resnet50.onnx
    python train.py resnet50 --data-root DATA --start OUT/resnet50.state --peak 0.02 --epochs 4 -o OUT/resnet50_on.onnx
    cd ../..
    python benchmarks/equal_epochs.py resnet50 --models OUT --data-root DATA --remove 0.55 --epochs 4

An under-trained model makes "no loss" trivial: whatever goes on training gains. So the dense model gets the epochs that
recovery gets, on the same 50 000 images and their labels, and both curves are printed. The model that was trained on is
pruned too, and not recovered: that is as many epochs as well. Recovery keeps its state beside the models and goes on after
an interruption. Top-1 is that of all 10 000 test images, on the copy that is named.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxslim.data.sources import open_samples
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.step import prune
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.step import recover
from onnxslim.simplification.step import simplify
from onnxslim.validation.evaluation import evaluate

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "sample_models" / "papers"), str(ROOT / "sample_models")]
import cifar  # noqa: E402

#: Training images, without labels, that pruning and calibration see.
FITTED = 2048


def main() -> None:
    """Print a row for each stage, and both curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network")
    parser.add_argument("--models", type=Path, required=True, help="where train.py wrote NETWORK.onnx and NETWORK_on.onnx")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--remove", type=float, default=0.55, help="share of the parameters")
    parser.add_argument("--epochs", type=float, required=True, help="of recovery: what NETWORK_on.onnx was trained on for")
    parser.add_argument("--batch-size", type=int, default=64)
    given = parser.parse_args()
    train, test = cifar.load(given.data_root, "train"), cifar.load(given.data_root, "test")
    dense, _ = simplify(given.models / f"{given.network}.onnx")
    confirm = open_samples({cifar.INPUT: cifar.normalized(test.images), "labels": test.labels}, dense)

    def row(what: str, model: ir.Model, seconds: float | None = None) -> None:
        found, top1 = compute_cost(model), evaluate(model, confirm, reference=dense).metric.result
        cells = [
            what,
            f"{found.params:,}",
            f"{found.macs / 1e6:.1f} M",
            f"{len(model_file.to_bytes(model)) / 1e3:.0f} kB",
            f"{100 * top1:.2f} %",
            "–" if seconds is None else f"{seconds:.0f} s",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)

    print(f"{given.network} on {test.origin}, {len(test.labels)} test images\n", flush=True)
    print("| | parameters | MACs | size | top-1 | took |\n|---|---|---|---|---|---|", flush=True)
    row("dense", dense)
    fitted = np.random.default_rng(0).permutation(len(train.labels))[:FITTED]
    few = open_samples({cifar.INPUT: cifar.normalized(train.images[fitted])}, dense)

    def smaller(what: str, model: ir.Model) -> ir.Model:
        started = time.monotonic()
        pruned, _ = prune(model, few, PruneOptions(remove=given.remove, of="params", round_to=1))
        row(f"{what}, pruned", pruned, time.monotonic() - started)
        return pruned

    def int8(what: str, model: ir.Model) -> None:
        started = time.monotonic()
        quantised, _ = quantize(model, few, QuantizeOptions())
        row(f"{what}, int8", quantised, time.monotonic() - started)

    if (trained_on := given.models / f"{given.network}_on.onnx").exists():
        on, _ = simplify(trained_on)
        what = f"trained on for {given.epochs:g} epochs"
        row(what, on)
        int8(f"{what}, pruned", smaller(what, on))
    pruned = smaller("dense", dense)
    lessons = open_samples({cifar.INPUT: cifar.normalized(train.images), "labels": train.labels}, dense)
    options = RecoverOptions(
        epochs=given.epochs,
        batch_size=given.batch_size,
        augment=("flip", "crop"),
        held=0.02,
        checkpoint=str(given.models / f"{given.network}_recover.state"),
    )
    started = time.monotonic()
    recovered, report = recover(pruned, dense, lessons, options)
    model_file.save(recovered, given.models / f"{given.network}_recovered.onnx")
    row("dense, pruned, recovered", recovered, time.monotonic() - started)
    int8("dense, pruned, recovered", recovered)
    print("\nrecovery: epoch, held-back loss, agreement with the dense model on held-back training images")
    for point in report.details["curve"]:
        epoch = point["step"] * given.batch_size / len(train.labels)
        print(f"{epoch:.2f},{point.get('held', float('nan')):.4f},{point.get('agreement', float('nan')):.4f}")
    for name in (given.network, f"{given.network}_on"):
        if (curve := given.models / f"{name}.csv").exists():
            print(f"\n{name}: {curve.read_text()}")


if __name__ == "__main__":
    main()
