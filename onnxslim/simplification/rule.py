"""What a rewrite rule is, and the few words its pattern is written with.

A rule looks at the *last* node of its pattern and answers with one of three things: ``None``, this is not the pattern;
a string, the pattern is here but the rewrite would not be exact, not smaller or slower (the reason a person reads under
``--explain``); or a mapping from values to what replaces them. New nodes and constants in that mapping are built with
:func:`op` and :func:`const` and belong to no graph yet; :mod:`onnxslim.simplification.editor` puts them in place, or drops
them when an output would lose its name or the file would grow.

To add a rule: write ``rules/<name>.py`` with the pattern as algebra in the docstring and a ``RULE``, put it into the
table in ``rule_table.py``, and add its three tests (fires, must not, near miss).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxslim.simplification.speed.claim import SpeedClaim
from onnxslim.simplification.symbolic_shapes.inference import KnownIntegers

#: None: not this pattern. A string: skipped, and why. A mapping: old value -> its equal.
MatchResult: TypeAlias = "dict[ir.Value, ir.Value] | str | None"


@dataclass(frozen=True)
class Rule:
    """One rewrite.

    Attributes:
        name: What the report counts it as.
        root_ops: Op types (of the default domain) that can end the pattern.
        match: ``match(node, context)`` for a node whose op type is in ``root_ops``.
        rounds: The result may differ in the last bits of a float; every other rule computes the same bits.
        claims: Where another kernel runs by it: what the runtime gains, so that it fires, and loses, so that it declines.
    """

    name: str
    root_ops: tuple[str, ...]
    match: Callable[[ir.Node, MatchContext], MatchResult]
    rounds: bool = False
    claims: tuple[SpeedClaim, ...] = ()


@dataclass(frozen=True)
class MatchContext:
    """What a rule may know besides the graph around its node.

    Attributes:
        opset: Version of the default domain.
        integers: What shape arithmetic is known to yield, see :mod:`onnxslim.simplification.symbolic_shapes.inference`.
        weighs_speed: Whether a rule declines what is exact and slower; not so where the two are timed.
    """

    opset: int
    integers: KnownIntegers = field(default_factory=dict)
    weighs_speed: bool = True


def name_rewrite(rule: str, node: ir.Node) -> str:
    """What the rewrite by ``rule`` at ``node``, the last of its pattern, is called: ``pads at conv1``."""
    return f"{rule} at {node.name or node.outputs[0].name}"


def op(
    op_type: str,
    inputs: list[ir.Value | None],
    attributes: Mapping[str, Any] | None = None,
    *,
    outputs: int = 1,
    name: str | None = None,
) -> ir.Value:
    """The first output of a new node that no graph holds yet; attributes may be plain values or ``ir.Attr``.

    A node that takes the place of a layer should have its ``name``; without one it is called after the last of those
    that go.
    """
    return ir.node(op_type, inputs, dict(attributes or {}), num_outputs=outputs, name=name).outputs[0]


def const(array: np.ndarray, like: ir.Value | None = None) -> ir.Value:
    """A new constant; its name will be derived from ``like``'s."""
    return tensor_const(ir.tensor(np.ascontiguousarray(array) if array.ndim else array), like)


def tensor_const(tensor: ir.TensorProtocol, like: ir.Value | None = None) -> ir.Value:
    """A new constant that is ``tensor``."""
    value = ir.Value(const_value=tensor, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype))
    if like is not None:
        value.meta["like"] = like.name
    return value


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node behind ``value`` when it is one of ``op_types`` of the default domain."""
    node = None if value is None else value.producer()
    return node if node is not None and not node.domain and node.op_type in op_types else None


def find_operand(node: ir.Node, *op_types: str) -> tuple[int, ir.Value, ir.Node] | None:
    """The first input of ``node`` that one of ``op_types`` makes: its position, the value, and the node behind it."""
    for position, value in enumerate(node.inputs):
        if value is not None and (source := producer(value, *op_types)) is not None:
            return position, value, source
    return None


def has_single_use(value: ir.Value) -> bool:
    """Whether exactly one input of one node reads ``value`` and no graph returns it."""
    return len(value.uses()) == 1 and not value.is_graph_output()
