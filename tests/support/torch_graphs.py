"""Small models and samples that the tests of recover share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx import helper

from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.tensor_conversion import to_numpy, to_torch
from onnxslim.recovery.torch_model.executor import TorchExecutor
from onnxslim.runtime.session import Session
from tests.support.node_graphs import build


def mlp(seed: int = 0, hidden: int = 16) -> ir.Model:
    """Eight numbers → hidden → three scores; the hidden tensor is called ``h``."""
    rng = np.random.default_rng(seed)
    weights = {
        "w1": rng.standard_normal((8, hidden)).astype(np.float32) / 3,
        "b1": rng.standard_normal(hidden).astype(np.float32) / 5,
        "w2": rng.standard_normal((hidden, 3)).astype(np.float32) / 3,
        "b2": rng.standard_normal(3).astype(np.float32) / 5,
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["g"], "first"),
        helper.make_node("Relu", ["g"], ["h"], "act"),
        helper.make_node("Gemm", ["h", "w2", "b2"], ["y"], "second"),
    ]
    return build(nodes, {"x": ["n", 8]}, {"y": ["n", 3]}, weights)


def rows(count: int = 256, seed: int = 1, labels: np.ndarray | None = None, width: int = 8) -> Samples:
    """Samples for :func:`mlp`."""
    x = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return open_samples({"x": x}, mlp(), labels=labels)


def damaged(source: ir.Model, share: float, seed: int = 3) -> ir.Model:
    """``source`` with noise of ``share`` standard deviations on its matrices and kernels."""
    rng = np.random.default_rng(seed)
    result = model_file.clone(source)
    for value in result.graph.initializers.values():
        assert value.const_value is not None
        array = value.const_value.numpy()
        if array.ndim > 1:
            noise = rng.standard_normal(array.shape) * array.std() * share
            value.const_value = ir.tensor((array + noise).astype(array.dtype), name=value.name)
    return result


def run_on_torch(executor: TorchExecutor, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
    """One run without gradients; arrays in, arrays of the declared types out, lists where ONNX has sequences."""
    graph = executor.model.graph
    types = {str(value.name): value.dtype for value in (*graph.inputs, *(out for node in graph for out in node.outputs))}

    def convert(value: Any, function: Callable[..., Any], name: str) -> Any:
        if isinstance(value, list):
            return [function(part, types.get(name)) for part in value]
        return None if value is None else function(value, types.get(name))

    with torch.no_grad():
        results = executor.run({name: convert(value, to_torch, name) for name, value in feeds.items()}, outputs)
    return {name: convert(value, to_numpy, name) for name, value in results.items()}


def arrays(source: ir.Model) -> dict[str, np.ndarray]:
    """All initializers by name."""
    return {
        name: value.const_value.numpy().copy()
        for name, value in source.graph.initializers.items()
        if value.const_value is not None
    }


QUICK = RecoverOptions(steps=150, lr=2e-2)


def error(model: ir.Model, teacher: ir.Model, x: np.ndarray, name: str = "x") -> float:
    a, b = (next(iter(Session(m).run({name: x}).values())) for m in (teacher, model))
    return float(((a - b) ** 2).sum() / (a**2).sum())


def fresh(count: int = 500) -> np.ndarray:
    return np.random.default_rng(99).standard_normal((count, 8)).astype(np.float32)
