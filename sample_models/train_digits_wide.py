"""digits_wide.onnx: a plain convolutional chain that is wider than it needs to be, from PyTorch.

Trained with an L1 penalty on the scales of its normalisations (network slimming, Liu et al. 2017, arXiv:1708.06519);
scales that end next to nothing are set to zero, as any training with weight decay on them ends up doing. A zero scale
makes its channel a constant, so part of the network can go without changing a single output, and more goes at little
cost: the sample that pruning is shown on. Exported without the exporter's clean-up, so BatchNorm is still there and
its scales can be read, with the constant arithmetic that PyTorch leaves around convolutions without a bias.

Needs the ``torch`` extra, onnxscript and scikit-learn.
``python sample_models/train_digits_wide.py`` takes half a minute.
"""

from __future__ import annotations

import digits
import torch
import torch_training
from torch import nn

EPOCHS = 30
PENALTY = 1e-2
DEAD_BELOW = 1e-2


def build() -> nn.Sequential:
    """(n, 1, 8, 8) → (n, 10) logits: 32-32 channels at 16×16, 48-48 at 8×8, all followed by BatchNorm and ReLU."""
    layers: list[nn.Module] = [nn.Upsample(scale_factor=2.0, mode="nearest")]
    inputs = 1
    for outputs in (32, 32, 0, 48, 48):
        if outputs == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


def scales(net: nn.Module) -> list[nn.Parameter]:
    """The scales of every BatchNorm."""
    return [layer.weight for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]


def main() -> None:
    """Train with the penalty, zero what it silenced, export."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = build()
    torch_training.train(net, epochs=EPOCHS, penalty=lambda n: PENALTY * sum(s.abs().sum() for s in scales(n)))
    with torch.no_grad():
        for scale in scales(net):
            scale[scale.abs() < DEAD_BELOW] = 0
            print(f"{int((scale == 0).sum())} of {len(scale)} channels are dead")
    path = digits.HERE / "digits_wide.onnx"
    torch_training.export(net, path, digits.INPUT, (1, 8, 8), optimize=False)
    print(f"{path.name}: top-1 {torch_training.top1(net):.4f} on the evaluation part, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
