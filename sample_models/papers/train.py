"""Train one of the papers' networks on CIFAR-10 and write it as ONNX.

    python sample_models/papers/train.py resnet50 --data-root DIR --epochs 40 -o resnet50.onnx

bf16 autocast and channels-last, SGD with a one-cycle rate, the usual moves and mirrors. ``--progressive`` shows the
first epochs smaller images (for networks that end in a mean over the map, whose weights fit any size), which makes an
epoch of them two to four times cheaper. The state is kept next to the
output after every epoch (``OUT.state``) and a run that was killed goes on from it; ``OUT.csv`` holds the curve. The
top-1 printed in the end is that of the float module on all 10 000 test images, and says which copy they are from.
Needs the ``torch`` extra and onnxscript.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import cifar
import numpy as np
import torch
from networks import NETWORKS
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch_training

BATCH = 128
PEAK, MOMENTUM, DECAY = 0.1, 0.9, 5e-4


def batches(part: cifar.Part, rng: np.random.Generator, batch: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """One epoch, shuffled; the last odd images wait for the next one."""
    order = rng.permutation(len(part.labels))
    starts = range(0, len(order) - batch + 1, batch)
    return [(order[start : start + batch], part.labels[order[start : start + batch]]) for start in starts]


def tensor(images: np.ndarray, side: int = cifar.SIDE) -> torch.Tensor:
    """A batch as the network wants it, ``side`` pixels high and wide: smaller ones are means over areas."""
    pixels = torch.from_numpy(cifar.normalized(images))
    if side != cifar.SIDE:
        pixels = functional.interpolate(pixels, size=(side, side), mode="area")
    return pixels.contiguous(memory_format=torch.channels_last)


def sides(epochs: int, progressive: bool) -> list[int]:
    """Pixels a side of every epoch's images: half, then three quarters, then whole (progressive resizing)."""
    if not progressive:
        return [cifar.SIDE] * epochs
    small, middle = round(0.4 * epochs), round(0.3 * epochs)
    return [cifar.SIDE // 2] * small + [cifar.SIDE * 3 // 4] * middle + [cifar.SIDE] * (epochs - small - middle)


def top1(net: nn.Module, part: cifar.Part) -> float:
    """Share of ``part`` that ``net`` gets right, in float32."""
    net.eval()
    hits = 0
    with torch.no_grad():
        for start in range(0, len(part.labels), 500):
            stop = start + 500
            hits += int((net(tensor(part.images[start:stop])).argmax(1).numpy() == part.labels[start:stop]).sum())
    return hits / len(part.labels)


def train(
    net: nn.Module,
    part: cifar.Part,
    test: cifar.Part,
    plan: list[int],
    state: Path,
    batch: int = BATCH,
    peak: float = PEAK,
) -> None:
    """Train ``net`` in place, one epoch for each side in ``plan``; ``state`` is gone on from, and kept after each."""
    epochs = len(plan)
    steps = epochs * (len(part.labels) // batch)
    optimizer = torch.optim.SGD(net.parameters(), peak, MOMENTUM, weight_decay=DECAY, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps, pct_start=0.2)
    done = 0
    curve = state.with_suffix(".csv")
    if state.exists():
        kept = torch.load(state, weights_only=True)
        net.load_state_dict(kept["net"])
        optimizer.load_state_dict(kept["optimizer"])
        schedule.load_state_dict(kept["schedule"])
        done = kept["epoch"]
    else:
        curve.write_text("epoch,loss,top1,seconds\n")
    for epoch in range(done, epochs):
        started = time.perf_counter()
        rng = np.random.default_rng((0, epoch))
        net.train()
        total = 0.0
        chosen = batches(part, rng, batch)
        for index, labels in chosen:
            images = tensor(cifar.augmented(part.images[index], rng), plan[epoch])
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(images)
            loss = functional.cross_entropy(logits.float(), torch.from_numpy(labels), label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        score = top1(net, test) if (epoch + 1) % 5 == 0 or epoch + 1 == epochs else float("nan")
        seconds = time.perf_counter() - started
        line = f"{epoch + 1},{total / len(chosen):.4f},{score:.4f},{seconds:.0f}"
        print(line, flush=True)
        with curve.open("a") as file:
            file.write(line + "\n")
        kept = {
            "net": net.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "epoch": epoch + 1,
        }
        torch.save(kept, state.with_suffix(".new"))
        state.with_suffix(".new").replace(state)
    net.eval()


def main() -> None:
    """Train and export."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--width", type=int, help="channels of the first convolution")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--start", type=Path, metavar="STATE", help="another run's state to begin with, its rate anew")
    parser.add_argument("--peak", type=float, default=PEAK, help="the highest rate")
    parser.add_argument("--progressive", action="store_true", help="smaller images first")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    make = NETWORKS[arguments.network]
    net = (make(arguments.width) if arguments.width else make()).to(memory_format=torch.channels_last)
    part, test = (cifar.load(arguments.data_root, name) for name in ("train", "test"))
    plan = sides(arguments.epochs, arguments.progressive)
    if arguments.start is not None:
        net.load_state_dict(torch.load(arguments.start, weights_only=True)["net"])
    train(net, part, test, plan, arguments.output.with_suffix(".state"), peak=arguments.peak)
    torch_training.export(net, arguments.output, cifar.INPUT, (3, 32, 32))
    size = arguments.output.stat().st_size
    count = sum(parameter.numel() for parameter in net.parameters())
    print(f"{arguments.output.name}: {count} parameters, {size} bytes, top-1 {top1(net, test):.4f} on {test.origin}")


if __name__ == "__main__":
    main()
