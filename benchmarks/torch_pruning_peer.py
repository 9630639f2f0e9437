"""Torch-Pruning's one-shot pruner on the modules whose ONNX files are at hand; run by its own interpreter.

    python benchmarks/torch_pruning_peer.py NAME MODEL FOLDER RATE [RATE ...]

writes one ONNX file for each rate into FOLDER. It wants the PyTorch module, which an ONNX file does not hold: the ones
here are built anew and take the weights of the file, convolution by convolution in the order in which they run. Their
BatchNorms were folded when they were exported, so the modules have biases instead. The zero-padded shortcuts of
cifar10_resnet56 are 1×1 convolutions of ones here, which compute the same and which its dependency graph understands.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import torch
import torch_pruning
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional


class ResNet56(nn.Module):
    """Three stages of nine basic blocks for 32×32 images (He et al. 2015, section 4.2), BatchNorms folded."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1)
        blocks, inputs = [], 16
        for width in (16, 32, 64):
            for _ in range(9):
                blocks.append(Basic(inputs, width))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of a batch."""
        return self.head(self.blocks(functional.relu(self.stem(image))).mean((2, 3)))


class Basic(nn.Module):
    """Two 3×3 convolutions and the shortcut."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        stride = 1 if inputs == width else 2
        self.one = nn.Conv2d(inputs, width, 3, stride, 1)
        self.two = nn.Conv2d(width, width, 3, 1, 1)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != width:
            self.shortcut = nn.Conv2d(inputs, width, 1, stride, bias=False)
            nn.init.zeros_(self.shortcut.weight)
            nn.init.dirac_(self.shortcut.weight[width // 4 : width // 4 + inputs])

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) → (n, width, h / stride, w / stride)."""
        return functional.relu(self.two(functional.relu(self.one(x))) + self.shortcut(x))


def digits_cnn() -> nn.Module:
    """The sample; what its BatchNorms hold is in the convolutions of the file."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sample_models"))
    from train_digits_cnn import DigitsCNN

    net = DigitsCNN()
    for layers in net.modules():
        if isinstance(layers, nn.Sequential):
            for name, layer in layers.named_children():
                if isinstance(layer, nn.BatchNorm2d):
                    setattr(layers, name, nn.Identity())
    return net


def mobilenet_v2() -> nn.Module:
    """torchvision's, whose compiled ops are not needed here: where its build is not torch's, their names suffice."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for op in ("nms", "qnms", "roi_align", "qroi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d"):
        for name in (op, f"_{op}_backward"):
            if not hasattr(torch.ops.torchvision, name):
                library.define(f"{name}() -> ()")
    from torchvision.models import mobilenet_v2 as make

    return make(norm_layer=lambda _: nn.Identity())


#: name -> how the module is made, and one input of it
MODULES = {
    "digits_cnn": (digits_cnn, (1, 1, 8, 8)),
    "cifar10_resnet56": (ResNet56, (1, 3, 32, 32)),
    "mobilenet_v2": (mobilenet_v2, (1, 3, 224, 224)),
}


def loaded(name: str, file: Path) -> tuple[nn.Module, Tensor]:
    """The module with the weights of ``file``, and an input."""
    make, shape = MODULES[name]
    net, example = make().eval(), torch.randn(shape)
    graph = onnx.load(file).graph
    held = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    order = list[nn.Module]()
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    layers = [layer for layer in layers if layer.bias is not None or not isinstance(net, ResNet56)]
    hooks = [layer.register_forward_hook(lambda layer, *_: order.append(layer)) for layer in layers]
    with torch.no_grad():
        net(example)
        for hook in hooks:
            hook.remove()
        for layer, node in zip(order, nodes, strict=True):
            layer.weight.copy_(held[node.input[1]].reshape(layer.weight.shape))
            layer.bias = nn.Parameter(held[node.input[2]])
    return net, example


def main() -> None:
    """Prune at every rate and export."""
    name, file, folder, *rates = sys.argv[1:]
    for rate in rates:
        net, example = loaded(name, Path(file))
        head = next(layer for layer in reversed(list(net.modules())) if isinstance(layer, nn.Linear))
        importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
        pruner = torch_pruning.pruner.MagnitudePruner(
            net, example, importance=importance, pruning_ratio=float(rate), ignored_layers=[head]
        )
        pruner.step()
        graph = onnx.load(file, load_external_data=False).graph
        names = [graph.input[0].name], [graph.output[0].name]
        torch.onnx.export(
            net,
            (example,),
            f"{folder}/{rate}.onnx",
            dynamo=False,
            input_names=names[0],
            output_names=names[1],
            dynamic_axes={names[0][0]: {0: "n"}},
        )


if __name__ == "__main__":
    main()
