"""What the walk remembers: of the model so far, and of what each node's rule said."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.channels.slots.slot_tracing import Axes


@dataclass(frozen=True)
class ShapeElement:
    """One element of a small integer tensor that says a size.

    Attributes:
        value: Its value, or a name where it is known at run time only.
        sources: The axes whose sizes it was computed from.
    """

    value: int | str
    sources: tuple[np.ndarray, ...] = ()


@dataclass(frozen=True)
class SizeRecord:
    """A target of :class:`onnxslim.channels.analysis.units.DependentSize`.

    Attributes:
        target: An input's position or an attribute's name.
        counts: element -> the slots that it counts.
        fixed: element -> the number that it keeps.
        length: How many elements an input has that is computed at run time; 0 for constants and attributes.
        sources: The axes whose sizes it was computed from.
    """

    target: int | str
    counts: dict[int, np.ndarray]
    fixed: dict[int, int] = field(default_factory=dict)
    length: int = 0
    sources: tuple[np.ndarray, ...] = ()


@dataclass
class RuleRecords:
    """What rules say besides relations, with slots instead of labels; the fields are those of ``units.py``."""

    consumers: list[tuple[int, int, np.ndarray, tuple[int, int] | None]] = field(default_factory=list)
    producers: list[tuple[tuple[int, int], tuple[int, int] | None, int, int]] = field(default_factory=list)
    sizes: list[SizeRecord] = field(default_factory=list)
    remaps: list[tuple[int, np.ndarray]] = field(default_factory=list)


@dataclass
class WalkState:
    """What the walk over the graph knows when it reaches a node.

    Attributes:
        axes: The axes of every tensor so far; None where not even the rank is known.
        shape_elements: The elements of every small integer tensor that says sizes.
        opset: The opset version.
        lossy: Whether channels that a normalisation averages over may go.
    """

    axes: dict[ir.Value, Axes | None]
    shape_elements: dict[ir.Value, list[ShapeElement]]
    opset: int
    lossy: bool
