"""Random valid graphs, made of what exporters write: layers, views, shape arithmetic, branches, constants, dead ends.

Every tensor's first axis is the free dimension ``batch``. A graph is built from concrete shapes at ``batch = 2`` and is
valid for every batch, because no rule below looks at the first axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[int]], int]


@dataclass
class Builder:
    """A graph under construction."""

    draw: Draw
    opset: int
    nodes: list[ir.Node] = field(default_factory=list)
    initializers: list[ir.Value] = field(default_factory=list)
    made: list[tuple[ir.Value, tuple[int, ...]]] = field(default_factory=list)

    def pick(self, size: int) -> int:
        return self.draw(st.integers(0, size - 1))

    def constant(self, array: np.ndarray) -> ir.Value:
        """As an initializer, or as a Constant node."""
        tensor = ir.tensor(array, name=f"c{len(self.initializers) + len(self.nodes)}")
        if self.pick(2):
            node = ir.node("Constant", [], {"value": tensor})
            return self.add(node)
        value = ir.Value(name=tensor.name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
        self.initializers.append(value)
        return value

    def weights(self, *shape: int) -> ir.Value:
        seed = self.pick(4)  # few seeds, so that some weights are equal
        return self.constant(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))

    def ints(self, *numbers: int) -> ir.Value:
        return self.constant(np.asarray(numbers, np.int64))

    def add(self, node: ir.Node) -> ir.Value:
        node.name = f"n{len(self.nodes)}"
        for output in node.outputs:
            output.name = f"v{len(self.nodes)}_{output.index()}"
        self.nodes.append(node)
        return node.outputs[0]

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: object) -> ir.Value:
        return self.add(ir.node(op_type, list(inputs), attributes))  # type: ignore[arg-type]


Grown = "tuple[ir.Value, tuple[int, ...]] | None"


def unary(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    return b.op(("Identity", "Relu", "Sigmoid", "Neg", "Dropout", "Tanh")[b.pick(6)], x), shape


def clip(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    low, high = ((0.0, 6.0), (-1.0, 1.0), (0.5, 2.0))[b.pick(3)]
    return b.op("Clip", x, b.constant(np.float32(low)), b.constant(np.float32(high)) if b.pick(2) else None), shape


def scale(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    last = shape[1:][-1:] or (1,)  # never the batch
    sizes = ((), (1,), last, tuple(shape[1:2]) + (1,) * max(0, len(shape) - 2))
    size = sizes[b.pick(4)]
    array = (np.zeros, np.ones, lambda s: np.full(s, 0.5))[b.pick(3)](size).astype(np.float32)
    return b.op(("Add", "Mul", "Sub")[b.pick(3)], x, b.constant(array)), shape


def add_earlier(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    others = [value for value, size in b.made if size == shape]
    return (b.op(("Add", "Mul")[b.pick(2)], x, others[b.pick(len(others))]), shape) if others else None


def transpose(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    rest = list(range(1, len(shape)))
    turn = b.pick(len(rest)) if rest else 0
    perm = [0, *rest[turn:], *rest[:turn]]
    return b.op("Transpose", x, perm=perm), tuple(shape[axis] for axis in perm)


def view(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    size = int(np.prod(shape[1:]))
    divisors = [d for d in range(1, size + 1) if size % d == 0]
    first = divisors[b.pick(len(divisors))]
    kind = b.pick(5)
    if kind == 0:
        return b.op("Flatten", x, axis=1), (shape[0], size)
    if kind == 1 and len(shape) < 5:
        axis = 1 + b.pick(len(shape))
        return b.op("Unsqueeze", x, b.ints(axis)), (*shape[:axis], 1, *shape[axis:])
    if kind == 2 and 1 in shape[1:]:
        axis = shape.index(1, 1)
        return b.op("Squeeze", x, b.ints(axis)), (*shape[:axis], *shape[axis + 1 :])
    if kind == 3:  # as exporters write x.view(x.shape[0], …)
        batch = b.op("Gather", b.op("Shape", x), b.ints(0), axis=0)
        target = b.op("Concat", batch, b.ints(first), b.ints(-1), axis=0)
        return b.op("Reshape", x, target), (shape[0], first, size // first)
    return b.op("Reshape", x, b.ints(0, first, size // first)), (shape[0], first, size // first)


def cut(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    if len(shape) < 2:
        return None
    axis = 1 + b.pick(len(shape) - 1)
    start = b.pick(shape[axis])
    end = (2**31 - 1, shape[axis])[b.pick(2)]
    step = 1 + b.pick(2)
    size = -(-(shape[axis] - start) // step)
    result = b.op("Slice", x, b.ints(start), b.ints(end), b.ints(axis), b.ints(step))
    return result, (*shape[:axis], size, *shape[axis + 1 :])


def join(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    if len(shape) < 2 or shape[1] > 16:
        return None
    others = [(value, size) for value, size in b.made if len(size) == len(shape) and size[2:] == shape[2:]]
    value, size = others[b.pick(len(others))] if others else (x, shape)
    return b.op("Concat", x, value, axis=1), (shape[0], shape[1] + size[1], *shape[2:])


def convolve(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    if len(shape) != 4 or min(shape[2:]) < 3 or shape[1] > 16:
        return None
    if b.pick(3) == 0:
        x = b.op("Pad", x, b.ints(0, 0, 1, 1, 0, 0, 1, 1))
        shape = (*shape[:2], shape[2] + 2, shape[3] + 2)
    out = 1 + b.pick(4)
    bias = b.weights(out) if b.pick(2) else None
    y = b.op("Conv", x, b.weights(out, shape[1], 3, 3), bias, kernel_shape=[3, 3])
    if b.pick(2):
        positive = b.constant(np.linspace(0.5, 1.5, out).astype(np.float32))
        y = b.op("BatchNormalization", y, b.weights(out), b.weights(out), b.weights(out), positive)
    return y, (shape[0], out, shape[2] - 2, shape[3] - 2)


def linear(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    if len(shape) < 2 or shape[-1] > 64:
        return None
    out = 1 + b.pick(5)
    y = b.op("MatMul", x, b.weights(shape[-1], out))
    return (b.op("Add", y, b.weights(out)) if b.pick(2) else y), (*shape[:-1], out)


def mean(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    if len(shape) != 4:
        return None
    keep = b.pick(2)
    axes = [2, 3]
    y = (
        b.op("ReduceMean", x, b.ints(*axes), keepdims=keep)
        if b.opset >= 18
        else b.op("ReduceMean", x, axes=axes, keepdims=keep)
    )
    return y, (*shape[:2], 1, 1) if keep else shape[:2]


def expand(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    """Constants hidden behind CastLike and Expand, as PyTorch's dynamo exporter writes parameters."""
    other = b.op("CastLike", b.constant(np.float32(1.5)), x)
    return b.op("Mul", x, b.op("Expand", other, b.op("Shape", x))), shape


def branch(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    """An If on something known (the rank) or on data."""
    if b.pick(2):
        condition = b.op("Equal", b.op("Size", b.op("Shape", x)), b.constant(np.int64(3)))
    else:
        total = b.op("ReduceMax", x, keepdims=0)
        condition = b.op("Greater", total, b.constant(np.float32(0.1)))
    graphs = []
    for op_type in ("Relu", "Identity"):
        inner = ir.node(op_type, [x], name=f"{op_type}{len(b.nodes)}")
        inner.outputs[0].name = f"inner{len(b.nodes)}_{op_type}"
        inner.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        graphs.append(ir.Graph([], list(inner.outputs), nodes=[inner], name=op_type))
    return b.op("If", condition, then_branch=graphs[0], else_branch=graphs[1]), shape


def chunk(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    """Slices that are all of a tensor, or nearly; joined the other way round, as ``roll`` is."""
    if len(shape) < 2 or shape[-1] < 3:
        return None
    axis = len(shape) - 1
    at = 1 + b.pick(shape[-1] - 1)
    parts = [(0, at), (at - b.pick(2), 2**31 - 1)]
    one, two = (b.op("Slice", x, b.ints(start), b.ints(end), b.ints(axis)) for start, end in parts)
    size = parts[0][1] + shape[-1] - parts[1][0]
    return b.op("Concat", two, one, axis=axis), (*shape[:-1], size)


def unbind(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    """Parts of an axis of two, one of them squeezed; or one index of a transposed tensor."""
    if len(shape) < 3 or shape[1] != 2:
        return None
    if b.pick(2):
        moved = b.op("Transpose", x, perm=[1, 0, *range(2, len(shape))])
        return b.op("Gather", moved, b.constant(np.int64(b.pick(2))), axis=0), (shape[0], *shape[2:])
    attributes = {"num_outputs": 2} if b.opset >= 18 else {}
    split = ir.node("Split", [x], {"axis": 1, **attributes}, num_outputs=2)
    b.add(split)
    one, two = (b.op("Squeeze", part, b.ints(1)) for part in split.outputs)
    return b.op("Sub", one, two), (shape[0], *shape[2:])


def masked(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    """A scalar blown up under a mask."""
    mask = b.op("Greater", x, b.constant(np.float32(0.3)))
    filled = b.op("Expand", b.constant(np.float32(-1)), b.op("Shape", mask))
    return b.op("Where", mask, x, filled), shape


def attention(b: Builder, x: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, tuple[int, ...]] | None:
    """A layer between two Reshapes, its result moved with an axis of one, and a scaled product with itself."""
    if len(shape) != 3 or shape[1] * shape[2] > 64:
        return None
    rows = b.op("Reshape", x, b.ints(0, shape[2], shape[1]))
    layer = b.op("Add", b.op("MatMul", rows, b.weights(shape[1], 4)), b.weights(4))
    apart = b.op("Unsqueeze", b.op("Reshape", layer, b.ints(-1, shape[2], 2, 2)), b.ints(0))
    moved = b.op("Squeeze", b.op("Transpose", apart, perm=[0, 1, 3, 2, 4]), b.ints(0))
    one, two = (b.op("Mul", y, b.constant(np.float32(0.5))) for y in (moved, b.op("Transpose", moved, perm=[0, 1, 3, 2])))
    return b.op("MatMul", one, two), (shape[0], 2, shape[2], shape[2])


STEPS = (
    *(unary, clip, scale, add_earlier, transpose, view, cut, join, convolve, linear, mean, expand, branch),
    *(chunk, unbind, masked, attention),
)


@st.composite
def models(draw: st.DrawFn, max_steps: int = 12) -> ir.Model:
    """A model with one float input ``x`` of 2 to 4 axes, the first of them free, and one or two outputs."""
    opset = draw(st.sampled_from([16, 17, 18, 20]))
    rank = draw(st.integers(2, 4))
    shape = (2, *(draw(st.sampled_from([1, 2, 3, 4, 6, 8])) for _ in range(rank - 1)))
    x = ir.val("x", ir.DataType.FLOAT, ["batch", *shape[1:]])
    b = Builder(draw, opset)
    b.made.append((x, shape))
    for _ in range(draw(st.integers(1, max_steps))):
        value, size = b.made[-1 - draw(st.integers(0, min(2, len(b.made) - 1)))]
        grown = STEPS[draw(st.integers(0, len(STEPS) - 1))](b, value, size)
        if grown is not None:
            b.made.append(grown)
    outputs = [b.made[-1]] if len(b.made) > 1 else []
    if len(b.made) > 2 and draw(st.booleans()):
        outputs.append(b.made[-2])
    if not outputs:
        outputs = [(b.op("Identity", x), shape)]
    for value, size in outputs:
        value.type = ir.TensorType(ir.DataType.FLOAT)
        value.shape = ir.Shape(["batch", *size[1:]])
    graph = ir.Graph(
        [x],
        [value for value, _ in outputs],
        nodes=b.nodes,
        initializers=b.initializers,
        opset_imports={"": opset},
        name="random",
    )
    return ir.Model(graph, ir_version=8, metadata_props={"author": "a test"})
