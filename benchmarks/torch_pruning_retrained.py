"""Torch-Pruning's usual way on cifar10_resnet56: prune, then train with all labels; run by its own interpreter.

    python benchmarks/torch_pruning_retrained.py MODEL --data-root DIR --minutes 20

The comparison for ``onnxslim prune`` and ``recover``, which see 2 048 images and no label, and whose teacher was trained on
the original images: this way the network also learns the JPEG copy, and may end above the dense one. The module is that of
``torch_pruning_peer.py``; its folded BatchNorms are put back, as the identity, because it would hardly train without. Half
of the multiply-accumulates go by group magnitude, then SGD with one cycle of its rate goes over the 50 000 labelled
training images, moved and mirrored, for as long as it may.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn import functional
from torch_pruning_peer import loaded

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sample_models" / "papers"))
import cifar
from train import top1

BATCH, PEAK, MOMENTUM, DECAY = 128, 0.05, 0.9, 5e-4


def with_norms(net: nn.Module, images: Tensor) -> None:
    """Put a BatchNorm behind every convolution that has a bias, in place, so that the module computes what it did."""
    for parent in list(net.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                setattr(parent, name, nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels)))
    with torch.no_grad():
        # one by one from the front: each norm's statistics are of what the ones before it, already exact, let through
        for norm in [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]:
            found: list[Tensor] = []
            hook = norm.register_forward_pre_hook(lambda _, given, kept=found: kept.append(given[0]))
            net.eval()(images)
            hook.remove()
            x = found[0].transpose(0, 1).flatten(1)
            norm.running_mean.copy_(x.mean(1))
            norm.running_var.copy_(x.var(1))
            norm.weight.copy_((norm.running_var + norm.eps).sqrt())
            norm.bias.copy_(norm.running_mean)


def pruned(net: nn.Module, example: Tensor, share: float) -> float:
    """Prune ``net`` in place until ``share`` of its multiply-accumulates are left; what is left."""
    start, _ = torch_pruning.utils.count_ops_and_params(net, example)
    head = next(layer for layer in reversed(list(net.modules())) if isinstance(layer, nn.Linear))
    pruner = torch_pruning.pruner.MagnitudePruner(
        net, example, importance=torch_pruning.importance.GroupMagnitudeImportance(p=2), pruning_ratio=0.9,
        ignored_layers=[head], iterative_steps=90,
    )  # fmt: skip
    left = 1.0
    while left > share:
        pruner.step()
        left = torch_pruning.utils.count_ops_and_params(net, example)[0] / start
    return left


def retrain(net: nn.Module, part: cifar.Part, seconds: float) -> int:
    """Train ``net`` in place for so long; how many updates that were."""
    optimizer = torch.optim.SGD(net.parameters(), PEAK, MOMENTUM, weight_decay=DECAY, nesterov=True)
    rng, started, step = np.random.default_rng(0), time.perf_counter(), 0
    net.train()
    while (gone := (time.perf_counter() - started) / seconds) < 1:
        rate = PEAK * min(gone / 0.2, (1 - gone) / 0.8)
        for group in optimizer.param_groups:
            group["lr"] = rate
        index = rng.integers(0, len(part.labels), BATCH)
        images = torch.from_numpy(cifar.normalized(cifar.augmented(part.images[index], rng)))
        loss = functional.cross_entropy(net(images), torch.from_numpy(part.labels[index]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
    return step


def main() -> None:
    """Prune, train, and print what the test images say after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--left", type=float, default=0.5, help="share of the multiply-accumulates")
    parser.add_argument("--minutes", type=float, default=20.0)
    given = parser.parse_args()
    torch.manual_seed(0)
    lessons, test = cifar.load(given.data_root, "train"), cifar.load(given.data_root, "test")
    net, example = loaded("cifar10_resnet56", given.model)
    print(f"{test.origin}: dense {top1(net, test):.4f}", flush=True)
    with_norms(net, torch.from_numpy(cifar.normalized(lessons.images[:512])))
    print(f"with norms {top1(net, test):.4f}", flush=True)
    left = pruned(net, example, given.left)
    print(f"{left:.1%} of the multiply-accumulates left: {top1(net, test):.4f}", flush=True)
    steps = retrain(net, lessons, 60 * given.minutes)
    print(f"trained for {given.minutes:g} minutes, {steps} updates of {BATCH} labelled images: {top1(net, test):.4f}")


if __name__ == "__main__":
    main()
