"""deep_mlp.onnx: 100 layers, 10 000 parameters, from PyTorch.

It tells digits apart from their first ten principal components, scaled to length one on average. What a hundred layers
ask for is said in ``networks.deep_mlp``; Adam and a clipped gradient do the rest.

Needs the ``torch`` extra, onnxscript and scikit-learn. ``python sample_models/papers/deep_mlp.py`` takes a minute.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from networks import deep_mlp
from sklearn.decomposition import PCA
from torch import nn
from torch.nn import functional

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import digits  # noqa: E402 - the samples' scripts are no package
import torch_training  # noqa: E402

INPUT = "rows"
EPOCHS, BATCH = 60, 64


def rows() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Components, float32 (n, 10), and digits, int64 (n,), by part; fitted on the training part."""
    flat = {part: digits.load(part) for part in digits.SIZES}
    images = {part: x.reshape(len(x), -1) for part, (x, _) in flat.items()}
    components = PCA(10, random_state=0, svd_solver="full").fit(images["train"])
    scale = np.sqrt((components.transform(images["train"]) ** 2).sum(1).mean())
    return {part: ((components.transform(x) / scale).astype(np.float32), flat[part][1]) for part, x in images.items()}


def train(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    """Train in place, one thread, fixed seeds."""
    steps = EPOCHS * (len(y) // BATCH)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    rng = np.random.default_rng(0)
    for _ in range(EPOCHS):
        order = rng.permutation(len(y))
        for start in range(0, len(y) - BATCH + 1, BATCH):
            index = order[start : start + BATCH]
            loss = functional.cross_entropy(net(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    print(f"loss {loss.item():.4f}")


def main() -> None:
    """Train and export."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    parts = {part: (torch.from_numpy(x), torch.from_numpy(y)) for part, (x, y) in rows().items()}
    net = deep_mlp()
    train(net, *parts["train"])
    x, y = parts["eval"]
    with torch.no_grad():
        score = float((net(x).argmax(1) == y).float().mean())
    path = HERE / "deep_mlp.onnx"
    torch_training.export(net, path, INPUT, (10,))
    print(f"{path.name}: top-1 {score:.4f} on the evaluation part, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
