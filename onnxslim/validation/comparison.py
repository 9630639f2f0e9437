"""Compare: are two models equal, and if not, where do they part?

"Equal" is max|a - b| / max|a| per output, both run with the runtime's optimisation off, so that what is
compared is the models and not two ways of fusing them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import difference
from onnxslim.core.converter import JSON
from onnxslim.core.errors import InvalidModelError, UnsupportedError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.data.samples import Batch, Samples
from onnxslim.graph import shapes
from onnxslim.graph.signature import tap_outputs
from onnxslim.model_io import model_file
from onnxslim.model_io.short_names import restore_names
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.runtime.stateful_session import flatten_tensors
from onnxslim.validation.disagreements import DisagreementCollector
from onnxslim.validation.output_fidelity import OutputFidelity
from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.validation.output_kinds.recognition import recognize_outputs

#: Two models are equal when no output differs by more than this, against its largest element.
TOLERANCE = 1e-4
#: A layer is bad below this SQNR: an error of a third of the signal.
BAD_LAYER_DB = 10.0
#: Bytes of taps that one run of one model may hold.
_MAX_TAP_BYTES = 1 << 28


@dataclass
class OutputDifference:
    """One output of two models: the largest |a - b|, the largest |a|, and whether anything could not be subtracted."""

    worst: float = 0.0
    largest: float = 0.0
    mismatch: str | None = None

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        """Take in one run."""
        if a.shape != b.shape:
            self.mismatch = f"shape {b.shape}, expected {a.shape}"
        elif a.dtype != b.dtype:
            self.mismatch = f"{b.dtype}, expected {a.dtype}"
        elif a.dtype.kind != "f":
            if not np.array_equal(a, b):
                self.mismatch = f"{np.count_nonzero(a != b)} of {a.size} elements differ"
        elif a.size:
            delta = np.abs(difference(a, b))
            self.worst = max(self.worst, float(np.nan_to_num(delta, nan=np.inf, posinf=np.inf).max()))
            self.largest = max(self.largest, float(np.abs(a[np.isfinite(a)]).max(initial=0.0)))

    @property
    def relative(self) -> float:
        """max|a - b| / max|a|; infinite where there is something that cannot be subtracted."""
        if self.mismatch is not None or (self.worst > 0 and self.largest == 0):
            return math.inf
        return self.worst / self.largest if self.worst else 0.0


@dataclass(frozen=True)
class TensorComparison:
    """One tensor that both models have.

    Attributes:
        name: The tensor's name.
        op: Op type of the node that makes it in the first model.
        node: Name of that node.
        sqnr_db: Infinite when equal, NaN when it has another shape in the second model.
    """

    name: str
    op: str
    node: str
    sqnr_db: float


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes:
        outputs: By name.
        tolerance: Up to which relative difference the models count as equal.
        layers: The tensors both have, in graph order; empty unless asked for.
        changed: The samples whose answer is another one in the second model.
        kinds: What each output was taken for.
    """

    outputs: dict[str, OutputDifference]
    tolerance: float = TOLERANCE
    layers: list[TensorComparison] = field(default_factory=list)
    changed: DisagreementCollector = field(default_factory=DisagreementCollector)
    kinds: Sequence[OutputKind] = ()

    @property
    def equal(self) -> bool:
        """Whether every output is within the tolerance."""
        return all(output_difference.relative <= self.tolerance for output_difference in self.outputs.values())

    @property
    def first_bad(self) -> TensorComparison | None:
        """The first layer in graph order whose SQNR is below :data:`BAD_LAYER_DB`."""
        return next((layer for layer in self.layers if layer.sqnr_db < BAD_LAYER_DB), None)

    def as_json(self) -> dict[str, Any]:
        """Additions to the contract; a relative difference or an SQNR of null is infinite."""
        bad = self.first_bad
        values = {
            "equal": self.equal,
            "tolerance": self.tolerance,
            "outputs": {
                name: {"max_abs": d.worst, "relative": d.relative, "mismatch": d.mismatch}
                for name, d in self.outputs.items()
            },
            "layers": [
                {"name": layer.name, "op": layer.op, "node": layer.node, "sqnr_db": layer.sqnr_db,
                 "equal": layer.sqnr_db == math.inf, "other_shape": math.isnan(layer.sqnr_db), "first_bad": layer is bad}
                for layer in self.layers
            ],
            "kinds": [kind.as_json() for kind in self.kinds],
            "changed": {"output": self.changed.output, "samples": self.changed.indices},
        }  # fmt: skip
        return dict(JSON.unstructure(values))


def compare(
    a: model_file.ModelLike,
    b: model_file.ModelLike,
    samples: Samples | Sequence[Samples],
    layers: bool = False,
    *,
    config: SessionConfig | None = None,
    tolerance: float = TOLERANCE,
    batch_size: int = 8,
    output: str | Sequence[str] | None = None,
    progress: Progress = ignore_progress,
) -> Comparison:
    """Compare the outputs of two models, and with ``layers`` every tensor that both have by name.

    Args:
        a: The one that is right.
        b: The other.
        samples: One set, or several (random ones of several seeds).
        layers: Look inside as well; graph outputs are layers too.
        config: How both run; the runtime's optimisation is switched off.
        tolerance: See :attr:`Comparison.equal`.
        batch_size: Samples at a time, where the model leaves that free.
        output: Whose answers are compared; by default the first that has any.
        progress: Called after each batch.

    Raises:
        InvalidModelError: ``b`` lacks an output of ``a``.
    """
    sample_sets = [samples] if isinstance(samples, Samples) else list(samples)
    unoptimized = (config or SessionConfig()).with_(optimize=False)
    first, second = model_file.load(a), model_file.load(b)
    outputs: dict[str, OutputDifference] = {}
    kinds = _recognize_outputs(first, sample_sets[0], config, output)
    changed = DisagreementCollector(next((kind for kind in kinds if kind.gates and len(kind.outputs) == 1), None))
    runs = _run_both((first, second), sample_sets, unoptimized, batch_size, progress)
    for sample_set, batch, first_outputs, second_outputs in runs:
        pairs = list(_pair_tensors(first_outputs, second_outputs))
        changed.add(sample_set, batch, {name: x for name, x, _ in pairs}, {name: y for name, _, y in pairs})
        for name, x, y in pairs:
            outputs.setdefault(name, OutputDifference()).add(x, y)
    tensors: list[TensorComparison] = []
    if layers:
        restore_names(second, [value.name or "" for node in first.graph for value in node.outputs])
        groups = list(_group_by_size(first, _find_shared_tensors(first, second), batch_size))
        for index, group in enumerate(groups):
            fidelities = {value.name or "": OutputFidelity() for value in group}
            tapped_models = tap_outputs(first, fidelities, only=True), tap_outputs(second, fidelities, only=True)
            runs = _run_both(tapped_models, sample_sets, unoptimized, batch_size, ignore_progress)
            for _, _, first_outputs, second_outputs in runs:
                for name, x, y in _pair_tensors(first_outputs, second_outputs):
                    fidelities.setdefault(name, OutputFidelity()).add(x, y)  # of a type that nobody knew
            for value in group:
                node, fidelity = value.producer(), fidelities[value.name or ""]
                if fidelity.is_float and node is not None:
                    tensors.append(TensorComparison(value.name or "", node.op_type, node.name or "", fidelity.sqnr_db))
            progress("layers", index + 1, len(groups))
    return Comparison(outputs, tolerance, tensors, changed=changed, kinds=kinds)


def _recognize_outputs(
    model: ir.Model, samples: Samples, config: SessionConfig | None, output: str | Sequence[str] | None
) -> list[OutputKind]:
    """What the outputs are; nothing where none is a tensor: those are compared member by member all the same."""
    try:
        return recognize_outputs(model, samples, config=config, output=output)
    except UnsupportedError:
        return []


def _run_both(
    models: tuple[ir.Model, ir.Model],
    sample_sets: Sequence[Samples],
    config: SessionConfig,
    batch_size: int,
    progress: Progress,
) -> Iterator[tuple[Samples, Batch, dict[str, Any], dict[str, Any]]]:
    """The outputs of both models, batch by batch."""
    first, second = (Session(model, config) for model in models)
    for name in first.outputs:
        if name not in second.outputs:
            raise InvalidModelError(f"the second model has no output {name}", hint=f"it has {', '.join(second.outputs)}")
    for samples in sample_sets:
        for batch in samples.batches(batch_size):
            yield samples, batch, first.run(batch), second.run(batch, first.outputs)
            progress("compare", batch.indices.stop, len(samples))


def _pair_tensors(
    first_outputs: Mapping[str, Any], second_outputs: Mapping[str, Any]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Every output tensor of both models; the members of a sequence or a map by index or key."""
    for name in first_outputs:
        x, y = dict(flatten_tensors(name, first_outputs[name])), dict(flatten_tensors(name, second_outputs[name]))
        for key, values in x.items():
            yield key, values, y.get(key, np.empty(0, values.dtype))


def _find_shared_tensors(a: ir.Model, b: ir.Model) -> list[ir.Value]:
    """The float tensors that nodes of both main graphs make under one name, in the order of ``a``."""
    names = {output.name for node in b.graph for output in node.outputs}
    floats = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, None}
    shapes.infer(a)
    return [
        output
        for node in a.graph
        if node.op_type != "Constant"
        for output in node.outputs
        if output.name and output.name in names and output.dtype in floats
        if output.type is None or isinstance(output.type, ir.TensorType)
    ]


def _group_by_size(model: ir.Model, values: Sequence[ir.Value], batch: int) -> Iterator[list[ir.Value]]:
    """``values`` in groups whose tensors fit in the bytes allowed; one of unknown size counts for a sixteenth."""
    copy = model_file.clone(model)
    shapes.bind(copy)
    sizes = {output.name: shapes.get_static_dims(output) for node in copy.graph for output in node.outputs}
    group: list[ir.Value] = []
    group_bytes = 0.0
    for value in values:
        shape = sizes[value.name]
        size = _MAX_TAP_BYTES / 16 if shape is None else 4 * math.prod(shape) * batch
        if group and group_bytes + size > _MAX_TAP_BYTES:
            yield group
            group, group_bytes = [], 0.0
        group.append(value)
        group_bytes += size
    if group:
        yield group
