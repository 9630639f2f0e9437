"""The oracle on random compositions of ops: what two rules make of each other's axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.channels.lossless.removal import remove_lossless
from onnxslim.runtime.session import Session
from tests.support.channel_graphs import Weight, model
from tests.support.mask_oracle import PLAIN, assert_exact, distance, feeds

Shape = tuple[int, int, int]


@dataclass
class Sketch:
    """A graph in the making: its text, its weights, and the (channels, height, width) of every tensor."""

    text: list[str] = field(default_factory=list)
    weights: dict[str, Weight] = field(default_factory=dict)
    tensors: list[tuple[str, Shape]] = field(default_factory=lambda: [("x", (4, 4, 4))])

    def weight(self, value: Weight) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = value
        return name

    def add(self, call: str, shape: Shape) -> str:
        name = f"t{len(self.text)}"
        self.text.append(f"{name} = {call}")
        self.tensors.append((name, shape))
        return name

    def fit(self, pick: int, wanted: Callable[[Shape], bool]) -> tuple[str, Shape]:
        """A tensor whose shape is ``wanted``; the last always should be among them."""
        fitting = [entry for entry in self.tensors if wanted(entry[1])]
        return fitting[pick % len(fitting)]


def conv(s: Sketch, a: int, b: int) -> None:
    name, (c, h, w) = s.fit(a, lambda _: True)
    made = [4, 6, 8, 12][b % 4]
    s.add(f"Conv({name}, {s.weight((made, c, 1, 1))}, {s.weight((made,))})", (made, h, w))


def grouped(s: Sketch, a: int, b: int) -> None:
    name, (c, h, w) = s.tensors[-1]
    choices = [g for g in (1, 2, 3, 4, c) if c % g == 0]
    groups = choices[b % len(choices)]
    made = groups * (1 + a % 3)
    s.add(f"Conv<group={groups}, pads=[1,1,1,1]>({name}, {s.weight((made, c // groups, 3, 3))})", (made, h, w))


def unary(s: Sketch, a: int, b: int) -> None:
    name, shape = s.fit(a, lambda _: True)
    s.add(f"{['Relu', 'Sigmoid', 'HardSwish', 'Softmax<axis=3>'][b % 4]}({name})", shape)


def add(s: Sketch, a: int, b: int) -> None:
    name, shape = s.tensors[-1]
    other, _ = s.fit(a, lambda found: found == shape)
    s.add(f"{['Add', 'Mul', 'Max'][b % 3]}({name}, {other})", shape)


def gate(s: Sketch, a: int, b: int) -> None:
    name, shape = s.tensors[-1]
    c = shape[0]
    pooled = s.add(f"GlobalAveragePool({name})", (c, 1, 1))
    squeezed = s.add(f"Conv({pooled}, {s.weight((c, c, 1, 1))})", (c, 1, 1))
    s.add(f"Mul({name}, {squeezed})", shape)


def concat(s: Sketch, a: int, b: int) -> None:
    name, (c, h, w) = s.tensors[-1]
    other, (d, _, _) = s.fit(a, lambda found: found[1:] == (h, w))
    s.add(f"Concat<axis=1>({name}, {other})", (c + d, h, w))


def cut(s: Sketch, a: int, b: int) -> None:
    name, (c, h, w) = s.tensors[-1]
    start, stop = sorted((a % c, b % c + 1))
    stop = max(stop, start + 1)
    s.add(
        f"Slice({name}, {s.weight([start])}, {s.weight([stop])}, {s.weight([1])})",
        (stop - start, h, w),
    )


def swap(s: Sketch, a: int, b: int) -> None:
    name, (c, h, w) = s.tensors[-1]
    first = 1 + a % (c - 1) if c > 1 else 0
    if first:
        n = len(s.text)
        s.text.append(f"p{n}, q{n} = Split<axis=1>({name}, {s.weight([first, c - first])})")
        s.add(f"Concat<axis=1>(q{n}, p{n})", (c, h, w))


def shuffle(s: Sketch, a: int, b: int) -> None:
    name, (c, h, w) = s.tensors[-1]
    groups = [g for g in (1, 2, 3, 4) if c % g == 0]
    g = groups[a % len(groups)]
    n = len(s.text)
    s.text.append(f"u{n} = Reshape({name}, {s.weight([1, g, c // g, h, w])})")
    s.text.append(f"v{n} = Transpose<perm=[0,2,1,3,4]>(u{n})")
    s.add(f"Reshape(v{n}, {s.weight([1, c, h, w])})", (c, h, w))


def fold(s: Sketch, a: int, b: int) -> None:
    """Channels and rows of places in another order: (c, h) as (h, c)."""
    name, (c, h, w) = s.tensors[-1]
    n = len(s.text)
    s.text.append(f"u{n} = Reshape({name}, {s.weight([1, c * h, w])})")
    s.add(f"Reshape(u{n}, {s.weight([1, c, h, w])})", (c, h, w))


def heads(s: Sketch, a: int, b: int) -> None:
    """Channels as (heads, size), contracted against themselves in their size."""
    name, (c, h, w) = s.tensors[-1]
    sizes = [g for g in (1, 2, 4) if c % g == 0]
    g = sizes[a % len(sizes)]
    n = len(s.text)
    s.text.append(f"u{n} = Reshape({name}, {s.weight([1, g, c // g, h * w])})")
    s.text.append(f"k{n} = Transpose<perm=[0,1,3,2]>(u{n}) g{n} = MatMul(k{n}, u{n}) p{n} = Softmax(g{n})")
    s.text.append(f"m{n} = MatMul(u{n}, p{n})")
    s.add(f"Reshape(m{n}, {s.weight([1, c, h, w])})", (c, h, w))


def pad(s: Sketch, a: int, b: int) -> None:
    name, (c, h, w) = s.tensors[-1]
    before, after = a % 3, b % 3
    s.add(f"Pad({name}, {s.weight([0, before, 0, 0, 0, after, 0, 0])})", (c + before + after, h, w))


def pick(s: Sketch, a: int, b: int) -> None:
    name, (c, h, w) = s.tensors[-1]
    indices = [(a + i * (1 + b % 3)) % c for i in range(min(c, 5))]
    s.add(f"Gather<axis=1>({name}, {s.weight(indices)})", (len(indices), h, w))


STEPS = [conv, conv, grouped, unary, add, add, gate, concat, cut, swap, shuffle, fold, heads, pad, pick]


def draw(steps: list[tuple[int, int, int]]) -> Sketch:
    """A graph of these steps between a Conv that makes 12 channels and one that reads what is left."""
    sketch = Sketch()
    conv(sketch, 0, 3)
    for step, a, b in steps:
        if sketch.tensors[-1][1][0] <= 24:
            STEPS[step % len(STEPS)](sketch, a, b)
    name, (c, _, _) = sketch.tensors[-1]
    sketch.text.append(f"y = Conv({name}, {sketch.weight((3, c, 1, 1))})")
    return sketch


STEP = st.tuples(st.integers(0, len(STEPS) - 1), st.integers(0, 11), st.integers(0, 11))


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=10))
def test_random_graphs(steps: list[tuple[int, int, int]]) -> None:
    sketch = draw(steps)
    net = model(" ".join(sketch.text), sketch.weights, inputs="float[1,4,4,4] x", outputs="float[?,?,?,?] y")
    assert_exact(net, sets=3)


@settings(max_examples=40, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=10), st.randoms(use_true_random=False))
def test_random_graphs_with_dead_weights(steps: list[tuple[int, int, int]], random: object) -> None:
    sketch = draw(steps)
    net = model(" ".join(sketch.text), sketch.weights, inputs="float[1,4,4,4] x", outputs="float[?,?,?,?] y")
    for value in net.graph.initializers.values():
        array = value.const_value.numpy().copy()
        if array.ndim == 4 or (array.ndim == 1 and array.dtype.kind == "f"):
            rows = [i for i in range(len(array)) if random.random() < 0.3]  # type: ignore[attr-defined]
            array[rows] = 0
            if array.ndim == 4 and random.random() < 0.3:  # type: ignore[attr-defined]
                array[:, random.randrange(array.shape[1])] = 0  # type: ignore[attr-defined]
            value.const_value = ir.tensor(array, name=value.name)
    before = Session(net, PLAIN).run(feeds(net, 0))["y"]
    pruned = net.clone()
    remove_lossless(pruned)
    # Ten random layers may cancel to an output far smaller than what they add up; a wrong channel shows at 1e-2.
    assert distance(before, Session(pruned, PLAIN).run(feeds(net, 0))["y"]) <= 1e-4
