"""The networks that the pruning papers describe, as PyTorch modules for (n, 3, 32, 32) images and 10 classes.

Where a text's code does not run as printed, the evident network is built and the docstring says what was corrected.
Every plain network takes ``width``, the channels of its first convolution: 64 in the texts, less on two cores; all other
sizes scale with it. Convolutions carry a BatchNorm while they train, without which ten and more plain layers hardly
start to learn; it is folded on export, so that the file holds the convolutions of the text and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Conv (no bias) and BatchNorm, "same" padding."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class _Plain(nn.Module):
    """3×3 convolutions with one shared ReLU, a 2×2 maximum after some of them, and a head.

    Args:
        widths: Output channels, convolution by convolution.
        pools: After which of them the map is halved.
        head: From the last map (n, widths[-1], h, w) to (n, 10).
    """

    def __init__(self, widths: list[int], pools: set[int], head: nn.Module) -> None:
        super().__init__()
        self.convs = nn.ModuleList([_conv(i, o) for i, o in zip([3, *widths], widths, strict=False)])
        self.pools = pools
        self.relu = nn.ReLU()
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """Logits of a batch."""
        x = image
        for index, conv in enumerate(self.convs):
            x = self.relu(conv(x))
            if index in self.pools:
                x = functional.max_pool2d(x, 2)
        return self.head(x)


class _Mean(nn.Module):
    """The mean over height and width."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) → (n, c)."""
        return x.mean((2, 3))


def convnet(width: int = 16) -> nn.Module:
    """ConvNet: twelve convolutions 64-64-128-128-256-256-512-512-512-512-1024-1024, one Linear to 10.

    The text pools after every pair, which halves 32 pixels once too often: the sixth pooling is a mean over what is left.
    """
    widths = [width * scale for scale in (1, 1, 2, 2, 4, 4, 8, 8, 8, 8, 16, 16)]
    return _Plain(widths, {1, 3, 5, 7, 9}, nn.Sequential(_Mean(), nn.Linear(widths[-1], 10)))


def _basic_widths(width: int) -> list[int]:
    return [width * scale for scale in (1, 1, 2, 2, 4, 4, 8, 8)]


def basicnet(width: int = 16) -> nn.Module:
    """BasicNet: eight convolutions 64 … 512, halved after every pair, Linear 512 from the flattened map, Linear 10."""
    widths = _basic_widths(width)
    hidden = 8 * width
    head = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * 4, hidden), nn.ReLU(), nn.Linear(hidden, 10))
    return _Plain(widths, {1, 3, 5, 7}, head)


def finalnet(width: int = 8) -> nn.Module:
    """FinalNet: BasicNet's convolutions with no pooling between them, Linear 512, Linear 10.

    The text flattens a map of 32×32 into a Linear that expects 512 numbers; a mean over the map makes its shapes add up.
    """
    widths = _basic_widths(width)
    hidden = 8 * width
    return _Plain(widths, set(), nn.Sequential(_Mean(), nn.Linear(widths[-1], hidden), nn.ReLU(), nn.Linear(hidden, 10)))


def simplenet(width: int = 16) -> nn.Module:
    """SimpleNet: twelve convolutions 64 … 512 with four poolings, and a last convolution to 10; no Linear.

    The text leaves the last map 2×2 wide; the mean over it is taken behind the last convolution.
    """
    widths = [width * scale for scale in (1, 1, 2, 2, 2, 4, 4, 4, 4, 8, 8, 8)]
    return _Plain(widths, {1, 4, 8, 11}, nn.Sequential(nn.Conv2d(widths[-1], 10, 1), _Mean()))


class _Bottleneck(nn.Module):
    """1×1 down, 3×3, 1×1 up to four times the width, and the shortcut (He et al. 2015, arXiv:1512.03385)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.down = _conv(inputs, width, 1)
        self.middle = _conv(width, width, 3, stride)
        self.up = _conv(width, outputs, 1)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else _conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) → (n, 4 · width, h / stride, w / stride)."""
        y = functional.relu(self.middle(functional.relu(self.down(x))))
        return functional.relu(self.up(y) + self.shortcut(x))


class _ResNet50(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = _conv(3, width)
        blocks: list[nn.Module] = []
        inputs = width
        for stage, depth in enumerate((3, 4, 6, 3)):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(_Bottleneck(inputs, width * 2**stage, stride))
                inputs = 4 * width * 2**stage
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of a batch."""
        return self.head(self.blocks(functional.relu(self.stem(image))).mean((2, 3)))


def resnet50(width: int = 20) -> nn.Module:
    """ResNet-50 for CIFAR-10: bottlenecks [3, 4, 6, 3], a 3×3 stem without stride or pooling.

    The text counts 2.24 M parameters, which no integer width gives: 20 channels at the base have 2.31 M.
    """
    return _ResNet50(width)


class _DeepMLP(nn.Module):
    def __init__(self, features: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(features, features, bias=False) for _ in range(layers)])
        for layer in self.layers:
            nn.init.orthogonal_(layer.weight)

    def forward(self, rows: Tensor) -> Tensor:
        """(n, 10) → (n, 10) logits."""
        x = rows
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        return self.layers[-1](x)


def deep_mlp(features: int = 10, layers: int = 100) -> nn.Module:
    """100 layers of 10 × 10 weights, 10 000 parameters.

    Gradients cross a hundred layers only when each keeps lengths: orthogonal weights and tanh (Pennington et al. 2017,
    arXiv:1711.04735).
    """
    return _DeepMLP(features, layers)


#: What ``train.py`` can be asked for.
NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "convnet": convnet,
    "basicnet": basicnet,
    "finalnet": finalnet,
    "simplenet": simplenet,
    "resnet50": resnet50,
}
