"""What the PyTorch samples share: one short, seeded training loop and one clean export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import digits
import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional


def train(
    net: nn.Module,
    *,
    epochs: int,
    penalty: Callable[[nn.Module], torch.Tensor] | None = None,
    batch: int = 64,
) -> None:
    """Train ``net`` in place on the training part: AdamW, a one-cycle rate, images shifted by up to one pixel.

    One thread and fixed seeds, so that a machine gets the same weights twice.

    Args:
        net: (n, 1, 8, 8) → (n, 10) logits.
        epochs: Passes over the 1 097 images.
        penalty: Added to the cross-entropy, e.g. an L1 on the scales of the normalisations.
        batch: Images a step.
    """
    images, labels = (torch.from_numpy(array) for array in digits.load("train"))
    steps = epochs * (len(labels) // batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    rng = np.random.default_rng(0)
    net.train()
    for epoch in range(epochs):
        order = rng.permutation(len(labels))
        for start in range(0, len(labels) - batch + 1, batch):
            index = order[start : start + batch]
            loss = functional.cross_entropy(net(_shifted(images[index], rng)), labels[index], label_smoothing=0.05)
            if penalty is not None:
                loss = loss + penalty(net)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{epochs}: loss {loss.item():.4f}")
    net.eval()


def _shifted(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Every image moved by -1, 0 or 1 pixel along both axes; what moves in is background."""
    offsets = rng.integers(0, 3, (len(images), 2))
    padded = functional.pad(images, (1, 1, 1, 1))
    moved = [image[:, y : y + 8, x : x + 8] for image, (y, x) in zip(padded, offsets, strict=True)]
    return torch.stack(moved)


def top1(net: nn.Module) -> float:
    """Share of the evaluation part that ``net`` gets right."""
    images, labels = digits.load("eval")
    with torch.no_grad():
        return float((net(torch.from_numpy(images)).argmax(1).numpy() == labels).mean())


def export(net: nn.Module, path: Path, name: str, shape: tuple[int, ...], *, optimize: bool = True) -> None:
    """Write ``net`` with a free batch dimension, without the exporter's notes (they hold paths of this machine).

    Args:
        net: What to export.
        path: Where to.
        name: Of its input.
        shape: Of one sample.
        optimize: The exporter's own clean-up, on by default as it is in PyTorch; it folds BatchNorm into Conv.
    """
    program = torch.onnx.export(
        net.eval(),
        (torch.zeros(2, *shape),),
        input_names=[name],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=18,
        optimize=optimize,
        dynamo=True,
        verbose=False,
    )
    model = program.model_proto
    graph = model.graph
    for part in [
        model,
        graph,
        *graph.node,
        *graph.value_info,
        *graph.input,
        *graph.output,
        *graph.initializer,
    ]:
        del part.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
    graph.name = path.stem
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
