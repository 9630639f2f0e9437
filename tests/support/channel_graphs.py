"""Small models from ONNX's textual syntax, with random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir

#: An int64 vector (a list), an array, or the shape (a tuple) of random float32 weights.
Weight = tuple[int, ...] | list[int] | np.ndarray


#: What a model with onnxruntime's own ops adds to its opsets.
MICROSOFT = ', "com.microsoft" : 1'


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


def convs(middle: str, weights: Mapping[str, Weight] | None = None, *, channels: int = 8, **options: object) -> ir.Model:
    """A Conv that makes ``channels`` channels ``h``, then ``middle`` from h to ``m``, then a Conv that reads them."""
    read = int(options.pop("read", channels))  # type: ignore[call-overload]
    text = f"h = Conv<pads=[1,1,1,1]>(x, w_in, b_in) {middle} y = Conv<pads=[1,1,1,1]>(m, w_out)"
    own: dict[str, Weight] = {"w_in": (channels, 3, 3, 3), "b_in": (channels,), "w_out": (5, read, 3, 3)}
    return model(text, {**own, **(weights or {})}, outputs="float[?,?,?,?] y", **options)  # type: ignore[arg-type]


def matmuls(middle: str, weights: dict[str, Weight] | None = None, *, read: int = 8, **options: object) -> ir.Model:
    """A MatMul that makes 8 features ``h`` (2, 5, 8), then ``middle`` from h to ``m``, then a MatMul that reads m."""
    own: dict[str, Weight] = {"w_in": (6, 8), "w_out": (read, 4)}
    text = f"h = MatMul(x, w_in) {middle} y = MatMul(m, w_out)"
    options = {"inputs": "float[2,5,6] x", "outputs": "float[?,?,?] y", **options}
    return model(text, {**own, **(weights or {})}, **options)  # type: ignore[arg-type]


def scalar(value: float) -> np.ndarray:
    return np.asarray(value, np.float32)


def recurrent(kind: str, gates: int, extra: str = "", directions: int = 1, before: str = "", **weights: Weight) -> ir.Model:
    """Features (5, 2, 6) → MatMul → recurrent net with 7 hidden → MatMul."""
    many = directions * 7
    return model(
        f"h = MatMul(x, w_in) {before} a, s = {kind}(h, w, r{extra}) t = Transpose<perm=[0,2,1,3]>(a) f = Reshape(t, z)"
        " y = MatMul(f, w_out)",
        {
            "w_in": (6, 8),
            "w": (directions, gates * 7, 8),
            "r": (directions, gates * 7, 7),
            "w_out": (many, 4),
            "z": [0, 0, -1],
            **weights,
        },
        inputs="float[5,2,6] x",
        outputs="float[?,?,?] y",
    )


def names(values: Sequence[ir.Value | None]) -> list[str]:
    """The names of values that are given."""
    return [value.name or "" for value in values if value is not None]


def sizes(net: ir.Model) -> dict[str, tuple[int, ...]]:
    """Initializers and their shapes."""
    return {name: tuple(v.const_value.shape.numpy()) for name, v in net.graph.initializers.items() if v.const_value}
