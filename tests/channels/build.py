"""Small models from ONNX's textual syntax, with random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir

#: An int64 vector (a list), an array, or the shape (a tuple) of random float32 weights.
Weight = tuple[int, ...] | list[int] | np.ndarray


def model(
    text: str,
    weights: Mapping[str, Weight] | None = None,
    *,
    inputs: str = "float[1,3,8,8] x",
    outputs: str = "float[?,?] y",
    opset: int = 18,
    seed: int = 0,
    imports: str = "",
) -> ir.Model:
    """The model whose nodes are ``text``; outputs without a known shape get their rank from ``outputs``."""
    head = f'<ir_version: 9, opset_import: ["" : {opset}{imports}]>'
    proto = onnx.parser.parse_model(f"{head} graph ({inputs}) => ({outputs}) {{ {text} }}")
    rng = np.random.default_rng(seed)
    for name, value in (weights or {}).items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(_array(value, rng), name))
    return ir.from_proto(proto)


def _array(value: Weight, rng: np.random.Generator) -> np.ndarray:
    if isinstance(value, tuple):
        return (rng.standard_normal(value) / np.sqrt(max(1, np.prod(value[1:])))).astype(np.float32)
    return np.asarray(value, np.int64) if isinstance(value, list) else value


def convs(
    middle: str, weights: Mapping[str, Weight] | None = None, *, channels: int = 8, **options: object
) -> ir.Model:
    """A Conv that makes ``channels`` channels ``h``, then ``middle`` from h to ``m``, then a Conv that reads them."""
    read = int(options.pop("read", channels))  # type: ignore[call-overload]
    text = f"h = Conv<pads=[1,1,1,1]>(x, w_in, b_in) {middle} y = Conv<pads=[1,1,1,1]>(m, w_out)"
    own: dict[str, Weight] = {"w_in": (channels, 3, 3, 3), "b_in": (channels,), "w_out": (5, read, 3, 3)}
    return model(text, {**own, **(weights or {})}, outputs="float[?,?,?,?] y", **options)  # type: ignore[arg-type]


def names(values: Sequence[ir.Value | None]) -> list[str]:
    """The names of values that are given."""
    return [value.name or "" for value in values if value is not None]
