"""Inspect: what is in a model, as a table or JSON; only ``time`` runs it."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxslim.core.converter import JSON
from onnxslim.core.errors import UnsupportedError
from onnxslim.data.model_inputs import get_model_inputs
from onnxslim.data.states.pairs import find_state_pairs, get_model_outputs
from onnxslim.graph import shapes
from onnxslim.graph.quantized import detect_quantization
from onnxslim.graph.runtime_versions import oldest_runtime
from onnxslim.model_io import map_types, model_file
from onnxslim.pipeline.result import ModelFacts, compute_facts
from onnxslim.runtime.session import SessionConfig
from onnxslim.tools.hints import Hint, find_hints
from onnxslim.tools.measured_costs import read_costs

#: Characters of a dimension that are printed: exporters write whole formulas where others write a name.
_MAX_DIM_CHARS = 24


@dataclass(frozen=True)
class Port:
    """An input or output of a model: its name, element type, and dimensions (a size, a name, or None)."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype} (?)"
        dims = ("?" if dim is None else str(dim) for dim in self.shape)
        return f"{self.dtype} ({', '.join(dim if len(dim) <= _MAX_DIM_CHARS else '…' for dim in dims)})"


@dataclass(frozen=True)
class Inspection:
    """What is in one model.

    Attributes:
        name: The file's name, or the graph's.
        facts: Size, parameters, multiply-accumulates, hash.
        ir_version: Of the file format.
        opsets: By domain; the default one is ``ai.onnx``.
        producer: The tool that wrote it.
        oldest_runtime: The oldest onnxruntime that loads it.
        quantised: What shows that it is quantised, or None.
        inputs: What a caller must feed.
        outputs: What it gives back.
        ops: Nodes by op type, those of subgraphs and functions included, sorted by name.
        metadata: Its ``metadata_props``.
        channels: Only when asked for: what :func:`onnxslim.channels.analysis.display.describe` says of the model once its
            constants are folded, and ``blocks``, the parts that can be left out whole.
        states: Output → the input that it is fed back to, as names tell: what ``--state auto`` would carry.
        hints: Forms that cost time, size or accuracy.
    """

    name: str
    facts: ModelFacts
    ir_version: int
    opsets: dict[str, int]
    producer: str
    oldest_runtime: str
    quantised: str | None
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    ops: dict[str, int]
    metadata: dict[str, str] = field(default_factory=dict)
    channels: dict[str, Any] | None = None
    states: dict[str, str] = field(default_factory=dict)
    hints: tuple[Hint, ...] = ()

    @property
    def nodes(self) -> int:
        """How many nodes there are, those of subgraphs and functions included."""
        return sum(self.ops.values())

    def as_json(self) -> dict[str, Any]:
        """One entry of the JSON's ``models``."""
        return {**JSON.unstructure(self), "nodes": self.nodes}


def inspect(
    model: model_file.ModelLike,
    *,
    dims: Mapping[str, int] | None = None,
    channels: bool = False,
    time: bool = False,
    config: SessionConfig | None = None,
) -> Inspection:
    """Look into ``model``.

    Args:
        model: A path, bytes, ModelProto or ``onnx_ir.Model``.
        dims: Sizes of free dimensions, for the multiply-accumulates.
        channels: Also say which channels could be pruned; constants are folded first, as they would be then.
        time: And measure, on random data, what half of each group of them saves, and each block.
        config: Where that is measured.

    Raises:
        UsageError: The file does not exist.
        InvalidModelError: Not a valid model.
    """
    loaded = model_file.load(model)
    description: dict[str, Any] | None = None
    if channels or time:
        from onnxslim.tools import prunability  # imports half of the library, which who only looks need not wait for

        description = prunability.describe_prunability(loaded, dims, config or SessionConfig() if time else None)
    path = os.fspath(model) if isinstance(model, (str, os.PathLike)) else None
    functions = (node for function in loaded.functions.values() for node in function.all_nodes())
    nodes = itertools.chain(loaded.graph.all_nodes(), functions)
    ops = Counter(f"{node.domain}.{node.op_type}" if node.domain else node.op_type for node in nodes)
    return Inspection(
        name=os.path.basename(path) if path is not None else loaded.graph.name or "model",
        facts=compute_facts(loaded, path, dims),
        ir_version=loaded.ir_version,
        opsets={domain or "ai.onnx": number for domain, number in sorted(loaded.opset_imports.items())},
        producer=" ".join(filter(None, (loaded.producer_name, loaded.producer_version))),
        oldest_runtime=oldest_runtime(loaded),
        quantised=detect_quantization(loaded),
        inputs=tuple(_make_port(loaded.graph, value) for value in shapes.get_required_inputs(loaded)),
        outputs=tuple(_make_port(loaded.graph, value) for value in loaded.graph.outputs),
        ops=dict(sorted(ops.items())),
        metadata=dict(loaded.metadata_props),
        channels=description,
        states=_find_states(loaded),
        hints=tuple(find_hints(loaded, read_costs())),
    )


def _find_states(model: ir.Model) -> dict[str, str]:
    try:
        return find_state_pairs(get_model_inputs(model), get_model_outputs(model))
    except UnsupportedError:  # an input that is no tensor
        return {}


def _make_port(graph: ir.Graph, value: ir.Value) -> Port:
    other = map_types.describe(graph, value.name or "") or str(value.type or "unknown")
    dtype = other if value.dtype is None else value.dtype.name.lower()
    return Port(value.name or "", dtype, shapes.get_dims(value))
