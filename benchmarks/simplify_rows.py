"""The models that ``simplify.py`` compares tools on: taken from the onnx wheel or the zoo, drawn, or exported here.

Each builder takes a folder to write to and the command line, and returns the file. To add a row: a builder, and a line
in ROWS.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class UnbuildableError(Exception):
    """A row that cannot be built here, and why."""


def light(name: str) -> Callable[[Path, argparse.Namespace], Path]:
    """A model of the onnx wheel; its weights are ConstantOfShape nodes, so folding is allowed to grow these."""
    return lambda folder, args: Path(onnx.__file__).parent / "backend/test/data/light" / f"light_{name}.onnx"


def drawn(name: str) -> Callable[[Path, argparse.Namespace], Path]:
    """The same with seeded random initializers for those nodes, so that no two weights are equal and outputs differ."""

    def build(folder: Path, args: argparse.Namespace) -> Path:
        model = onnx.load(light(name)(folder, args))
        graph, rng = model.graph, np.random.default_rng(0)
        sizes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        for node in [node for node in graph.node if node.op_type == "ConstantOfShape"]:
            size = sizes[node.input[0]]
            uniform = len(size) < 2  # a bias, or a mean, a variance, a scale
            fan_in = max(1, int(np.prod(size[1:])))
            array = rng.uniform(0.5, 1.5, size) if uniform else rng.standard_normal(size) * (2 / fan_in) ** 0.5
            graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), node.output[0]))
            graph.node.remove(node)
        model.ir_version = max(model.ir_version, 4)  # where initializers need not be inputs, and those that are may vary
        constant = {tensor.name for tensor in graph.initializer}
        for info in [info for info in graph.input if info.name in constant]:
            graph.input.remove(info)
        path = folder / f"drawn_{name}.onnx"
        onnx.save(model, path)
        return path

    return build


def zoo(name: str) -> Callable[[Path, argparse.Namespace], Path]:
    """A file of the folder of real models."""

    def build(folder: Path, args: argparse.Namespace) -> Path:
        path = Path(args.zoo) / f"{name}.onnx"
        if not path.exists():
            raise UnbuildableError(f"no {path}")
        return path

    return build


def chain(length: int) -> Callable[[Path, argparse.Namespace], Path]:
    """A chain of ``length`` elementwise nodes that nothing can shorten."""

    def build(folder: Path, args: argparse.Namespace) -> Path:
        nodes, last = [], "x"
        for index in range(length):
            op_type = ("Sin", "Sigmoid", "Tanh", "Exp")[index % 4]
            nodes.append(helper.make_node(op_type, [last], [f"v{index}"], name=f"n{index}"))
            last = f"v{index}"
        shape = ["batch", 8]
        graph = helper.make_graph(
            nodes,
            "chain",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)],
        )
        path = folder / f"chain_{length}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    return build


def large(folder: Path, args: argparse.Namespace) -> Path:
    """2.4 GB of float32 weights beside the model: 36 square linear layers of 4096, with Identities to remove."""
    nodes, tensors, last, side, layers = [], [], "x", 4096, 36
    block = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32) / side**0.5
    for index in range(layers):
        weight = block * np.float32(1 + index / layers)
        tensors += [numpy_helper.from_array(weight, f"w{index}"), numpy_helper.from_array(weight[0], f"b{index}")]
        nodes += [
            helper.make_node("Identity", [last], [f"i{index}"]),
            helper.make_node("MatMul", [f"i{index}", f"w{index}"], [f"m{index}"]),
            helper.make_node("Add", [f"m{index}", f"b{index}"], [f"a{index}"]),
            helper.make_node("Relu", [f"a{index}"], [f"r{index}"]),
        ]
        last = f"r{index}"
    shape = ["batch", side]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)],
        tensors,
    )
    path = folder / "large.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=True, location="large.onnx.data")
    return path


def resnet50(*, dynamo: bool) -> Callable[[Path, argparse.Namespace], Path]:
    """torchvision's ResNet-50 with random weights, exported with its BatchNormalizations."""

    def build(folder: Path, args: argparse.Namespace) -> Path:
        torch = imported_torch()
        model = imported_torchvision(args).models.resnet50(weights=None).eval()
        image = torch.randn(1, 3, 224, 224)
        path = folder / f"resnet50_{'dynamo' if dynamo else 'torchscript'}.onnx"
        names: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"]}
        if dynamo:
            torch.onnx.export(model, (image,), dynamo=True, optimize=False, verbose=False, **names).save(path)
        else:
            mode = torch.onnx.TrainingMode.PRESERVE
            torch.onnx.export(
                model, image, path, dynamo=False, opset_version=17, do_constant_folding=False, training=mode, **names
            )
        return path

    return build


def encoder(*, dynamo: bool) -> Callable[[Path, argparse.Namespace], Path]:
    """An encoder of 6 layers: width 384, 6 heads, feed-forward 1536, vocabulary 1000; batch and length are free."""

    def build(folder: Path, args: argparse.Namespace) -> Path:
        torch = imported_torch()
        model = _encoder(torch).eval()
        ids = torch.randint(0, 1000, (2, 16))
        path = folder / f"encoder_{'dynamo' if dynamo else 'torchscript'}.onnx"
        names: dict[str, Any] = {"input_names": ["ids"], "output_names": ["hidden"]}
        if dynamo:
            axes = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=512)},)
            program = torch.onnx.export(
                model, (ids,), dynamo=True, optimize=False, verbose=False, dynamic_shapes=axes, **names
            )
            program.save(path)
        else:
            axes = {"ids": {0: "batch", 1: "length"}, "hidden": {0: "batch", 1: "length"}}
            torch.onnx.export(model, ids, path, dynamo=False, opset_version=17, dynamic_axes=axes, **names)
        return path

    return build


def imported_torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise UnbuildableError("torch is not installed") from error
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    return torch


def imported_torchvision(args: argparse.Namespace) -> Any:
    """torchvision without its compiled library: the ops it registers shapes for are declared, never run."""
    torch = imported_torch()
    if args.torchvision is None:
        raise UnbuildableError("--torchvision is not given")
    sys.path.insert(0, args.torchvision)
    if "torchvision" not in sys.modules:
        text = (Path(args.torchvision) / "torchvision/_meta_registrations.py").read_text()
        library = torch.library.Library("torchvision", "DEF")
        for name in dict.fromkeys(re.findall(r'register_fake\("torchvision::(\w+)"', text)):
            library.define(f"{name}(Tensor a) -> Tensor")
        torch._onnxslim_keeps_declared_ops = library
    import torchvision

    return torchvision


def _encoder(torch: Any) -> Any:
    nn = torch.nn

    class Layer(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v, self.o = (nn.Linear(384, 384) for _ in range(4))
            self.up, self.down = nn.Linear(384, 1536), nn.Linear(1536, 384)
            self.n1, self.n2 = nn.LayerNorm(384), nn.LayerNorm(384)

        def forward(self, x: Any) -> Any:
            batch, length, _ = x.shape
            q, k, v = (part(x).view(batch, length, 6, 64).transpose(1, 2) for part in (self.q, self.k, self.v))
            weights = (q @ k.transpose(-2, -1) / 8.0).softmax(-1)
            mixed = (weights @ v).transpose(1, 2).reshape(batch, length, 384)
            x = self.n1(x + self.o(mixed))
            return self.n2(x + self.down(nn.functional.gelu(self.up(x))))

    class Encoder(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(1000, 384), nn.Embedding(512, 384)
            self.norm = nn.LayerNorm(384)
            self.layers = nn.ModuleList(Layer() for _ in range(6))

        def forward(self, ids: Any) -> Any:
            places = torch.arange(ids.shape[1]).unsqueeze(0).expand_as(ids)
            x = self.norm(self.words(ids) + self.places(places))
            for layer in self.layers:
                x = layer(x)
            return x

    return Encoder()


ROWS: dict[str, tuple[Callable[[Path, argparse.Namespace], Path], int | None]] = {
    "light densenet121": (light("densenet121"), 1 << 30),
    "light inception_v2": (light("inception_v2"), 1 << 30),
    "light shufflenet": (light("shufflenet"), 1 << 30),
    "light resnet50": (light("resnet50"), 1 << 30),
    "drawn densenet121": (drawn("densenet121"), None),
    "drawn inception_v2": (drawn("inception_v2"), None),
    "drawn shufflenet": (drawn("shufflenet"), None),
    "drawn resnet50": (drawn("resnet50"), None),
    "resnet50 TorchScript": (resnet50(dynamo=False), None),
    "resnet50 dynamo": (resnet50(dynamo=True), None),
    "encoder TorchScript": (encoder(dynamo=False), None),
    "encoder dynamo": (encoder(dynamo=True), None),
    "mobilenet_v2": (zoo("mobilenet_v2"), None),
    "silero": (zoo("silero_vad_16k_op15"), None),
    "basic_pitch": (zoo("basic_pitch_nmp"), None),
    "efficientnet_lite0": (zoo("efficientnet_lite0"), None),
    "cifar10_resnet56": (zoo("cifar10_resnet56"), None),
    "magika": (zoo("magika_standard_v3_3"), None),
    "nudenet": (zoo("nudenet_320n_yolov8"), None),
    "ppocrv5_det": (zoo("ppocrv5_det"), None),
    "chain 4000": (chain(4000), None),
    "chain 20000": (chain(20000), None),
    "2.4 GB": (large, None),
}
