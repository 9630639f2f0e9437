"""The oracle: removing units equals setting to zero what their consumers' weights read of them.

It needs no data, no accuracy and no knowledge of the ops: whatever a rule or the rewriter gets wrong shows as a model
that the runtime refuses or as outputs that differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.channels.analysis.units import Analysis
from onnxslim.channels.rewriter import delete_units
from onnxslim.graph import constants, shapes
from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session, SessionConfig, check_loads

PLAIN = SessionConfig(optimize=False)

#: A saturated sigmoid, which computes with numbers around 1, is this far off however small its result is.
ROUNDING = 2 * float(np.finfo(np.float32).eps)


def remove_units(model: ir.Model, units: Sequence[int] | np.ndarray, analysis: Analysis | None = None) -> ir.Model:
    """``model`` without ``units``; the runtime takes it."""
    result = model_file.clone(model)
    delete_units(result, analysis or analyze_channels(model), units)
    shapes.infer(result)
    check_loads(result)
    return result


def random_sets(analysis: Analysis, count: int, seed: int) -> Iterator[np.ndarray]:
    """``count`` random masks of removable units, from a few per cent of them to nearly all."""
    rng = np.random.default_rng(seed)
    for share in rng.uniform(0.05, 0.9, count):
        yield analysis.spare(rng.random(analysis.count) < share)


def single_sets(analysis: Analysis) -> Iterator[np.ndarray]:
    """The first, the middle and the last unit alone: what is counted from an end shows when only that end moves."""
    for unit in sorted({0, analysis.count // 2, analysis.count - 1} & set(range(analysis.count))):
        yield analysis.to_mask([unit])


def feeds(model: ir.Model, seed: int, dims: dict[str, int] | None = None) -> dict[str, np.ndarray]:
    """Random inputs: normal floats, small integers."""
    rng = np.random.default_rng(seed)
    found = {}
    for value in shapes.get_required_inputs(model):
        size = shapes.resolve_sizes(value, dims)
        dtype = value.dtype.numpy() if value.dtype is not None else np.dtype(np.float32)
        if np.issubdtype(dtype, np.floating):
            found[value.name or ""] = rng.standard_normal(size).astype(dtype)
        else:
            found[value.name or ""] = rng.integers(0, 2, size).astype(dtype)
    return found


class Deaf:
    """A model at full size whose consumers can be made deaf to channels, other ones at every run.

    What a consumer reads of the channels (its weight or, where it has none, its input) is multiplied by a mask that is an
    input of the graph, so that one session serves all sets of units.
    """

    def __init__(self, model: ir.Model, analysis: Analysis) -> None:
        self._analysis = analysis
        self._masks: dict[str, tuple[int, tuple[int, ...], np.dtype]] = {}
        result = model.clone()
        known = _dims(model)
        nodes = list(result.graph)
        for number, consumer in enumerate(analysis.consumers):
            site = consumer.weight
            labels, i, axis = (
                (consumer.labels, consumer.input, consumer.axis) if site is None else (site.labels, site.input, site.axis)
            )
            value = nodes[consumer.node].inputs[i]
            assert value is not None
            array = constants.get_const_array(value)
            dims = list(known[str(value.name)] if array is None else array.shape)
            size = dims[axis] if isinstance(dims[axis], int) else len(analysis.labels[labels])
            shape = tuple(size if a == axis % len(dims) else 1 for a in range(len(dims)))
            dtype = value.dtype.numpy() if array is None and value.dtype is not None else np.dtype(np.float32)
            self._mask(
                result,
                nodes[consumer.node],
                i,
                f"oracle_{number}",
                labels,
                shape,
                dtype if array is None else array.dtype,
            )
        self._session = Session(result, PLAIN)

    def run(self, mask: np.ndarray, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs for ``inputs`` while nobody hears the units in ``mask``."""
        masks = {}
        for name, (labels, shape, dtype) in self._masks.items():
            keep = self._analysis.kept_slots(labels, mask)
            # A grouped convolution's consumer speaks of one group.
            masks[name] = np.tile(keep, int(np.prod(shape)) // len(keep)).reshape(shape).astype(dtype)
        return self._session.run(inputs | masks)

    def _mask(
        self, model: ir.Model, node: ir.Node, i: int, name: str, labels: int, shape: tuple[int, ...], dtype: np.dtype
    ) -> None:
        given = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.from_numpy(dtype)))
        model.graph.inputs.append(given)
        masked = ir.node("Mul", [node.inputs[i], given])
        masked.name = masked.outputs[0].name = f"{name}_masked"
        model.graph.insert_before(node, masked)
        node.replace_input_with(i, masked.outputs[0])
        self._masks[name] = labels, shape, dtype


def difference(
    model: ir.Model, analysis: Analysis, mask: np.ndarray, inputs: dict[str, np.ndarray], deaf: Deaf | None = None
) -> float:
    """The largest max|a - b| / max|a| over the outputs of the deaf (a) and the pruned (b) model."""
    pruned = model.clone()
    delete_units(pruned, analysis, mask)
    shapes.infer(pruned)
    expected = (deaf or Deaf(model, analysis)).run(mask, inputs)
    actual = Session(pruned, PLAIN).run(inputs)
    worst = 0.0
    for name, value in expected.items():
        assert actual[name].shape == value.shape, f"{name}: {actual[name].shape} instead of {value.shape}"
        worst = max(worst, distance(value, actual[name]))
    return worst


def distance(one: np.ndarray, two: np.ndarray) -> float:
    """max|a - b| / max|a|, rounding around 1 aside; infinite where what is not finite differs."""
    a, b = one.astype(np.float64), two.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(b[finite]).all():
        return float("inf")
    apart = np.abs(a[finite] - b[finite]).max(initial=0.0) - ROUNDING
    return float(max(0.0, apart) / (np.abs(a[finite]).max(initial=0.0) or 1.0))


def assert_exact(
    model: ir.Model, *, sets: int = 3, seed: int = 0, dims: dict[str, int] | None = None, tolerance: float = 1e-4
) -> Analysis:
    """Remove ``sets`` random sets of units, each held against the zeroed model; returns the analysis."""
    analysis = analyze_channels(model)
    inputs = feeds(model, seed, dims)
    deaf = Deaf(model, analysis)
    for number, mask in enumerate([*random_sets(analysis, sets, seed), *single_sets(analysis)]):
        worst = difference(model, analysis, mask, inputs, deaf)
        assert worst <= tolerance, f"set {number} ({int(mask.sum())} of {len(mask)} units): off by {worst:.2g}"
    return analysis


def _dims(model: ir.Model) -> dict[str, Sequence[object]]:
    """The dimensions of every tensor that a node makes or that is fed, as far as shape inference can tell."""
    inferred = model.clone()
    shapes.infer(inferred)
    values = [*inferred.graph.inputs, *(value for node in inferred.graph for value in node.outputs)]
    return {str(value.name): shapes.get_dims(value) or () for value in values}
