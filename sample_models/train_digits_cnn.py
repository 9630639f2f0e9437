"""digits_cnn.onnx: a small residual network, from PyTorch.

The 8×8 image is enlarged four times inside the graph (Resize, nearest), so that the data stay small while the
convolutions have enough work for int8 to show: 16 channels at 32×32, 32 at 16×16, 64 at 8×8; 78 000 parameters and
12 million MACs. The exporter's default clean-up has folded every BatchNorm into its convolution, as in most files
one meets.

Needs the ``torch`` extra, onnxscript and scikit-learn.
``python sample_models/train_digits_cnn.py`` takes half a minute.
"""

from __future__ import annotations

import digits
import torch
import torch_training
from torch import nn
from torch.nn import functional

EPOCHS = 12


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Conv (no bias) and BatchNorm, "same" padding."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """ResNet's basic block; the shortcut is a 1×1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv_bn(inputs, outputs, stride=stride)
        self.second = conv_bn(outputs, outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else conv_bn(inputs, outputs, kernel=1, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, inputs, h, w) → (n, outputs, h / stride, w / stride)."""
        return functional.relu(self.second(functional.relu(self.first(x))) + self.shortcut(x))


class DigitsCNN(nn.Module):
    """(n, 1, 8, 8) → (n, 10) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(1, 16)
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.head = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        x = functional.relu(self.stem(functional.interpolate(image, scale_factor=4.0, mode="nearest")))
        return self.head(self.blocks(x).mean((2, 3)))


def main() -> None:
    """Train and export."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = DigitsCNN()
    torch_training.train(net, epochs=EPOCHS)
    path = digits.HERE / "digits_cnn.onnx"
    torch_training.export(net, path, digits.INPUT, (1, 8, 8))
    print(f"{path.name}: top-1 {torch_training.top1(net):.4f} on the evaluation part, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
