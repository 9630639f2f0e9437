"""Computing constants, by the runtime that would compute them anyway, with its own optimisation off.

One session takes as many regions as fit a batch. Where the results of all regions would fill the memory (a large model
that transposes every weight), the large ones are computed when they are read, that is when the file is written, and
not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import OnnxslimError
from onnxslim.core.step_report import StepReport
from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_array
from onnxslim.model_io import model_file
from onnxslim.model_io.graph_names import FREE_INITIALIZERS_IR
from onnxslim.runtime.session import Session, SessionConfig

#: Bytes that the regions of one session read and keep, about.
MAX_BATCH_BYTES = 128 << 20

#: When all regions keep more bytes than the first number, those that keep more than the second are computed later.
MAX_HELD_BYTES = 256 << 20
MIN_LAZY_BYTES = 1 << 20


@dataclass
class Region:
    """Connected nodes that only depend on constants.

    Attributes:
        nodes: In topological order.
        kept: The values that would stay, as constants.
        growth: Bytes by which the file would grow.
    """

    nodes: list[ir.Node] = field(default_factory=list)
    kept: list[ir.Value] = field(default_factory=list)
    growth: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept."""
        return sum(shapes.get_nbytes(value) or 0 for value in self.kept)


def evaluate_regions(
    model: ir.Model, regions: list[Region], report: StepReport
) -> Iterator[tuple[Region, list[ir.TensorProtocol]]]:
    """Each region with what it keeps; a region that the runtime refuses is skipped and left out."""
    held_bytes = sum(region.nbytes for region in regions)
    eager = [region for region in regions if held_bytes <= MAX_HELD_BYTES or region.nbytes <= MIN_LAZY_BYTES]
    for batch in _iter_batches(eager):
        yield from _evaluate_together(model, batch, report)
    for region in regions:
        if held_bytes > MAX_HELD_BYTES and region.nbytes > MIN_LAZY_BYTES:
            yield region, _evaluate_lazily(model, region)


def _iter_batches(regions: list[Region]) -> Iterator[list[Region]]:
    batch: list[Region] = []
    total = 0
    for region in regions:
        if batch and total + region.nbytes > MAX_BATCH_BYTES:
            yield batch
            batch, total = [], 0
        batch.append(region)
        total += region.nbytes
    if batch:
        yield batch


def _evaluate_together(
    model: ir.Model, regions: list[Region], report: StepReport
) -> list[tuple[Region, list[ir.TensorProtocol]]]:
    """Compute ``regions`` in one session; one that the runtime refuses is found by halving."""
    try:
        results = iter(_run(_extract_model(model, regions)))
        return [(region, [next(results) for _ in region.kept]) for region in regions]
    except OnnxslimError as error:
        if len(regions) > 1:
            half = len(regions) // 2
            return [*_evaluate_together(model, regions[:half], report), *_evaluate_together(model, regions[half:], report)]
        node = regions[0].nodes[0]
        report.skip(node.name or str(node.outputs[0].name), f"folding it failed: {error.message}")
        return []


def _evaluate_lazily(model: ir.Model, region: Region) -> list[ir.TensorProtocol]:
    """What ``region`` keeps, as tensors that are computed at every read."""
    extracted = model_file.clone(_extract_model(model, [region]))
    sources = [value.const_value for value in extracted.graph.initializers.values() if value.const_value is not None]

    def read(index: int) -> Callable[[], ir.TensorProtocol]:
        def compute() -> ir.TensorProtocol:
            result = _try_transpose(extracted) or _run(extracted)[index]
            for source in sources:
                model_file.release(source)
            return result

        return compute

    return [
        ir.LazyTensor(read(index), dtype=cast(ir.DataType, value.dtype), shape=ir.Shape(shapes.get_static_dims(value) or ()))
        for index, value in enumerate(region.kept)
    ]


def _try_transpose(extracted: ir.Model) -> ir.TensorProtocol | None:
    """The result of a single Transpose, by far the commonest large region, without a session's copies."""
    node = extracted.graph[0]
    source = get_const_array(node.inputs[0])
    if len(extracted.graph) != 1 or node.op_type != "Transpose" or node.domain or source is None:
        return None
    perm = node.attributes.get_ints("perm", tuple(reversed(range(source.ndim))))
    return ir.Tensor(np.ascontiguousarray(source.transpose(perm)), dtype=node.outputs[0].dtype)


def _extract_model(model: ir.Model, regions: list[Region]) -> ir.Model:
    """A model without inputs that returns what ``regions`` keep; it shares their nodes."""
    nodes = [node for region in regions for node in region.nodes]
    inside = set(nodes)
    read = dict.fromkeys(value for node in nodes for value in node.inputs if value is not None)
    outer = [value for value in read if value.producer() not in inside]
    constants = dict.fromkeys(producer for value in outer if (producer := value.producer()) is not None)
    view = ir.GraphView(
        [], [value for region in regions for value in region.kept], nodes=[*constants, *nodes], name="constants",
        initializers=[value for value in outer if value.producer() is None], opset_imports=dict(model.opset_imports),
    )  # fmt: skip
    return ir.Model(cast(ir.Graph, view), ir_version=max(model.ir_version, FREE_INITIALIZERS_IR))


def _run(extracted: ir.Model) -> list[ir.TensorProtocol]:
    results = Session(extracted, SessionConfig(optimize=False)).run({})
    return [
        ir.Tensor(array, dtype=value.dtype) if array.dtype == cast(ir.DataType, value.dtype).numpy() else ir.tensor(array)
        for value, array in zip(extracted.graph.outputs, results.values(), strict=True)
    ]
