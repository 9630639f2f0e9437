"""Tiny models for the data room: only their inputs matter."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import pytest


def model_of(**inputs: tuple[str, list[int | str | None] | None]) -> ir.Model:
    """A model without nodes that takes ``name=(dtype, dims)``."""
    values = [
        ir.Value(
            name=name,
            type=ir.TensorType(ir.DataType[dtype]),
            shape=None if dims is None else ir.Shape([ir.SymbolicDim(d) if not isinstance(d, int) else d for d in dims]),
        )
        for name, (dtype, dims) in inputs.items()
    ]
    return ir.Model(ir.Graph(values, [], nodes=[], opset_imports={"": 17}, name="g"), ir_version=8)


@pytest.fixture(scope="session")
def make() -> Callable[..., ir.Model]:
    """``make(x=("FLOAT", ["batch", 3]))`` is a model with that input."""
    return model_of


@pytest.fixture(scope="session")
def image_model() -> ir.Model:
    """One float input ``x`` of shape (batch, 3, 8, 8)."""
    return model_of(x=("FLOAT", ["batch", 3, 8, 8]))


Make = Callable[..., ir.Model]


@pytest.fixture
def one(make: Make) -> ir.Model:
    """One input: ``x`` float32 (batch, 6)."""
    return make(x=("FLOAT", ["batch", 6]))


@pytest.fixture(scope="session")
def leaky_sum(make: Make) -> ir.Model:
    """Frames of three numbers and a state whose batch is its second axis."""
    return make(x=("FLOAT", ["batch", 3]), state=("FLOAT", [2, "batch", 4]))
