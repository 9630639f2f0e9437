"""One node as its operator's function sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch

#: ``function(call, *inputs)`` → one value, or a tuple of values when the node has several outputs.
OpFunction = Callable[..., Any]


@dataclass(frozen=True)
class Call:
    """What an operator may ask about its node, apart from its inputs.

    Attributes:
        node: The node itself, for declared types.
        version: The opset version that gives the node its meaning.
        attributes: Its attributes as Python values; tensors are torch tensors, graphs are ``ir.Graph``.
        run_subgraph: Runs the subgraph of an attribute: ``run_subgraph("then_branch", [inputs])`` → its outputs.
    """

    node: ir.Node
    version: int
    attributes: Mapping[str, Any]
    run_subgraph: Callable[[str, Sequence[Any]], list[Any]]

    @property
    def name(self) -> str:
        """What an error calls the node."""
        return self.node.name or self.node.op_type

    def get(self, name: str, default: Any = None) -> Any:
        """The attribute ``name``, or ``default``."""
        return self.attributes.get(name, default)

    def input_type(self, index: int) -> ir.DataType | None:
        """The declared element type of an input; None where nobody said."""
        value = self.node.inputs[index] if index < len(self.node.inputs) else None
        return None if value is None else value.dtype

    def has_output(self, index: int) -> bool:
        """Whether the node has a named output number ``index``."""
        return index < len(self.node.outputs) and bool(self.node.outputs[index].name)


def wrap_function(function: Callable[..., Any]) -> OpFunction:
    """An operator that needs nothing but its inputs."""
    return lambda call, *inputs: function(*inputs)


def to_ints(value: torch.Tensor | Sequence[int] | int | None) -> list[int]:
    """Axes, sizes or repeats, wherever ONNX put them: an attribute, a tensor, or nowhere."""
    if value is None:
        return []
    if isinstance(value, torch.Tensor):
        return [int(v) for v in value.reshape(-1).tolist()]
    return [value] if isinstance(value, int) else [int(v) for v in value]


def resolve_axes(call: Call, axes: torch.Tensor | None, rank: int) -> list[int]:
    """The node's axes, from its input or its attribute, as numbers from 0."""
    return [axis % rank if rank else 0 for axis in to_ints(axes if axes is not None else call.get("axes"))]
