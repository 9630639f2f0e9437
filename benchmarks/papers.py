"""The papers' networks, dense → pruned → recovered → int8, and every technique the texts name in a row of its own.

    python benchmarks/papers.py dense_mlp deep_mlp                 # the perceptrons, whose data are made on the spot
    python benchmarks/papers.py basicnet resnet50 --models DIR --data-root DIR
    python benchmarks/papers.py simplenet --models DIR --data-root DIR --judged 2000 --seconds 60

Networks on CIFAR-10 are what ``sample_models/papers/train.py`` wrote to ``--models``. Every row is a recipe that starts from
the dense file, fitted on ``--fitted`` training images without their labels and judged on ``--judged`` test images; the table
says which copy of CIFAR-10 they are. Latency is from the row's own interleaved run with the dense model. "Zipped" is what is
left of a file when it is compressed, which is all that zeros and shared values are good for in a dense runtime. Energy is
the processor's counter's where there is one, else an estimate relative to the dense model's, and then marked ~.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from onnxslim.core.errors import OnnxslimError
from onnxslim.model_io import model_file
from onnxslim.pipeline.recipe import Recipe, Repeat, Step, make_step
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.pipeline.result import Result
from onnxslim.validation.gates import Gates

ROOT = Path(__file__).resolve().parents[1]
PAPERS = ROOT / "sample_models" / "papers"
sys.path[:0] = [str(PAPERS), str(ROOT / "sample_models")]

Steps = tuple[Step | Repeat, ...]


def techniques(seconds: float) -> dict[str, Steps]:
    """What the texts do, as recipes; ``seconds`` is what one training may take."""
    first, int8, learn = make_step("simplify"), make_step("quantize"), make_step("recover", seconds=seconds)
    half = make_step("prune", remove=0.5, of="macs")
    turn = Repeat((make_step("prune", remove=0.16, of="macs"), make_step("recover", seconds=seconds / 4)), "budget", 4)
    return {
        "dense": (),
        "unused parameters removed": (first,),
        "magnitude: half of the weights to zero": (first, make_step("prune", sparsity="50%")),
        "magnitude: weights below 0.01 to zero": (first, make_step("prune", sparsity="<0.01")),
        "magnitude: channels, 30 % of the parameters": (first, make_step("prune", remove=0.3, of="params", criterion="l2")),
        "gradient: channels, 30 % of the parameters": (
            first,
            make_step("prune", remove=0.3, of="params", criterion="taylor"),
        ),
        "channels below 5 % of their family's best": (first, make_step("prune", threshold=0.05)),
        "structured: channels and blocks, 50 % of the MACs": (first, half),
        "structured, 50 % of the MACs, distilled": (first, half, learn),
        "structured, 50 % of the MACs, distilled, int8": (first, half, learn, int8),
        "structured in four turns, each distilled": (first, turn),
        "layers and channels by measured time, 40 %": (first, make_step("prune", remove=0.4, of="latency")),
        "low rank, 30 % of the MACs": (first, make_step("prune", remove=0.3, of="macs", low_rank=True)),
        "uniform int8": (first, int8),
        "codebook of 16 values a tensor": (first, make_step("quantize", weights="codebook:16")),
    }


class Network(NamedTuple):
    """A network and its data.

    Attributes:
        model: The dense file.
        name: Of its input.
        fitted: Samples without labels.
        judged: Others.
        labels: Of ``judged``.
        origin: What a figure taken on them must say.
    """

    model: Path
    name: str
    fitted: np.ndarray
    judged: np.ndarray
    labels: np.ndarray
    origin: str


def perceptron(name: str) -> Network:
    """One of the two that make their own data."""
    made = importlib.import_module(name)
    parts = made.rows()
    return Network(PAPERS / f"{name}.onnx", made.INPUT, parts["calib"][0], *parts["eval"], "its own evaluation part")


def convolutional(name: str, models: Path, data_root: Path, fitted: int, judged: int) -> Network:
    """One of those that ``train.py`` trains."""
    import cifar

    train, test = cifar.load(data_root, "train"), cifar.load(data_root, "test")
    chosen = np.random.default_rng(0).permutation(len(train.labels))[:fitted]
    images = cifar.normalized(test.images[:judged])
    lessons = cifar.normalized(train.images[chosen])
    return Network(models / f"{name}.onnx", cifar.INPUT, lessons, images, test.labels[:judged], test.origin)


def energy(found: dict[str, Any]) -> str:
    """Of an inference, as a share of the dense model's; ~ where it is an estimate."""
    if "relative_estimate" in found:
        return f"~{found['relative_estimate']:.2f}"
    relative = found.get("result", {}).get("relative")
    return "–" if relative is None else f"{relative:.2f}"


def row(what: str, result: Result) -> str:
    """One line of the table."""
    report = result.as_json()
    output, metric, latency = report["output"], report["metrics"][0], report["latency"]
    assert result.model is not None
    packed = len(zlib.compress(model_file.to_bytes(result.model), 9))
    low, high = metric["interval"]
    cells = [
        what,
        f"{output['params']:,}",
        f"{output['macs'] / 1e6:.2f} M",
        f"{output['bytes'] / 1e3:.0f} kB",
        f"{report['input']['bytes'] / output['bytes']:.2f}",
        f"{packed / 1e3:.0f} kB",
        f"{100 * metric['result']:.2f} % ({-100 * high:+.2f} to {-100 * low:+.2f})",
        f"{latency['result']['median_ms']:.3f} ms ({latency['ratio']:.2f}x)",
        energy(report["energy"]),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--models", type=Path, help="where train.py wrote the networks on CIFAR-10")
    parser.add_argument("--data-root", type=Path, help="CIFAR-10, as train.py wants it")
    parser.add_argument("--fitted", type=int, default=2048)
    parser.add_argument("--judged", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=300.0, help="of one training")
    parser.add_argument("--only", help="rows whose names hold this")
    given = parser.parse_args()
    for name in given.networks:
        if name.endswith("_mlp"):
            network = perceptron(name)
        else:
            network = convolutional(name, given.models, given.data_root, given.fitted, given.judged)
        data, confirm = {network.name: network.fitted}, {network.name: network.judged, "labels": network.labels}
        print(f"\n{name}: fitted on {len(network.fitted)} samples, judged on {len(network.labels)}, {network.origin}\n")
        print("| | parameters | MACs | size | times smaller | zipped | top-1 (change, 95 %) | latency | energy |")
        print("|---" * 9 + "|")
        for what, steps in techniques(given.seconds).items():
            if given.only and given.only not in what:
                continue
            try:
                recipe = Recipe(steps, Gates(), 0)
                result = run_recipe(network.model, recipe, data=data, eval_data=confirm, budget=4 * given.seconds)
                print(row(what, result), flush=True)
            except OnnxslimError as error:
                print(f"| {what} | {error.message} |" + " |" * 7, flush=True)


if __name__ == "__main__":
    main()
