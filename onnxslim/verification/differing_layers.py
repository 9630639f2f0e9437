"""Which layers compute otherwise on another processor: each is run there alone, on what it reads here.

The answers of an int8 file may be others elsewhere for two reasons. A kernel computes something else, as where sums
saturate. Or a layer rounds otherwise: sums in another order differ in their last digits, and a value next to the border
between two levels of an 8-bit grid falls on the other one. The layers behind make more of it, and at the end the outputs
differ by about as much as rounding to 8 bits costs anyway. What layers give from the same inputs tells the two apart.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import compute_sqnr_db
from onnxslim.activations.working_set import find_tensor_bytes
from onnxslim.core.errors import OnnxslimError
from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.traversal import name_nodes
from onnxslim.model_io import model_file
from onnxslim.runtime.devices.device import current_device
from onnxslim.runtime.emulation.emulated_session import EmulatedSession
from onnxslim.runtime.isolation import Interpreter
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import Session, SessionConfig

logger = logging.getLogger(__name__)

#: Floats further off than this come from another computation, nearer ones from another order of sums; codes may be one level
#: off.
MIN_ROUNDING_DB = 80.0
#: Inner tensors of one run are handed over up to this size.
_MAX_BYTES = 400_000_000
_MAX_NAMED = 3


@dataclass(frozen=True)
class DifferingLayer:
    """A layer that gives something else there from the same inputs.

    Attributes:
        name: Of its node in the graph as the runtime optimises it.
        decibels: How near its outputs are; minus infinity where they are not finite.
        is_rounding: Whether that is rounding alone: the last digits of floats, or one level of a grid.
        is_random: Whether it gives something else each time here too, as what draws noise does.
    """

    name: str
    decibels: float
    is_rounding: bool
    is_random: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.decibels:.0f} dB)"


def find_differing_layers(
    model: ir.Model, feed: Mapping[str, np.ndarray], config: SessionConfig, interpreter: Interpreter, name: str
) -> list[DifferingLayer]:
    """The layers that give something else in ``interpreter`` than here, in graph order; none where they cannot be asked.

    Args:
        model: What runs.
        feed: One run's inputs.
        config: How, on the CPU provider.
        interpreter: The Python there.
        name: What it is called.
    """
    if current_device() is not None or sum(find_tensor_bytes(model, feed).values()) > _MAX_BYTES:
        return []
    try:
        # the layouts of the last level are each processor's own
        optimized = read_optimized_graph(model, config.with_(is_lean=True))
        name_nodes(optimized.graph.all_nodes())
        plain = config.with_(optimize=False)
        values = {**feed, **Session(_tap_all(optimized), plain).run(feed)}
        alone, feeds = _isolate(optimized, values)
        with EmulatedSession(alone, plain, interpreter, name) as there:
            found = there.run(feeds)
        layers = list(_compare(alone, values, found))
        random = _find_random(alone, feeds, plain) if layers else frozenset[str]()
    except OnnxslimError as error:
        logger.info("which layers differ %s is not known: %s", name, error.message)
        return []
    return [replace(layer, is_random=layer.name in random) for layer in layers]


def describe_differing(layers: Sequence[DifferingLayer]) -> str:
    """The layers in a clause: those that compute something else, or that all of them but round otherwise; empty for none.
    Those that draw at random are named beside them.
    """
    random, told = [layer.name for layer in layers if layer.is_random], []
    settled = [layer for layer in layers if not layer.is_random]
    others = sorted((layer for layer in settled if not layer.is_rounding), key=lambda layer: layer.decibels)
    if others:
        told.append(f"from the same inputs these layers give something else there: {_list_first(list(map(str, others)))}")
    elif settled:
        told.append(
            f"from the same inputs layers but round otherwise there, by last digits or one level, first {settled[0]}; what "
            "follows makes more of it, about what rounding to 8 bits costs"
        )
    if random:
        left_out = "left out of that, since they give" if told else "layers that give"
        told.append(f"{left_out} something else each time here too: {_list_first(random)}")
    return "; ".join(told)


def _list_first(names: Sequence[str]) -> str:
    more = "" if len(names) <= _MAX_NAMED else f" and {len(names) - _MAX_NAMED} more"
    return f"{', '.join(names[:_MAX_NAMED])}{more}"


def _tap_all(model: ir.Model) -> ir.Model:
    """A copy that gives what every node gives."""
    copy = model_file.clone(model)
    given = set(copy.graph.outputs)
    copy.graph.outputs.extend(
        value for node in copy.graph for value in node.outputs if value.name and value not in given
    )  # fmt: skip
    return copy


def _isolate(model: ir.Model, values: Mapping[str, np.ndarray]) -> tuple[ir.Model, dict[str, np.ndarray]]:
    """A model of the nodes that read and give tensors of numbers alone, each with inputs of its own, and what to feed it."""
    copy = model_file.clone(model)
    graph, feeds = copy.graph, dict[str, np.ndarray]()
    graph.outputs.clear()
    graph.inputs.clear()
    inputs: dict[str, ir.Value] = {}
    kept = []
    for node in graph:
        reads = [value for value in node.inputs if value is not None and get_const_tensor(value) is None]
        named = [value for value in (*reads, *node.outputs) if value.name]
        if reads and not _has_body(node) and all(_is_numeric(values.get(str(value.name))) for value in named):
            kept.append(node)
    for node in kept:
        for index, value in enumerate(node.inputs):
            if value is None or get_const_tensor(value) is not None:
                continue
            key = str(value.name)
            if key not in inputs:
                array = feeds[f"{key}/here"] = values[key]
                dtype = ir.DataType.from_numpy(array.dtype)
                inputs[key] = ir.Value(name=f"{key}/here", shape=ir.Shape(array.shape), type=ir.TensorType(dtype))
            node.replace_input_with(index, inputs[key])
    graph.remove([node for node in graph if node not in set(kept)])
    graph.inputs.extend(inputs.values())
    graph.outputs.extend(value for node in kept for value in node.outputs if value.name)
    return copy, feeds


def _compare(alone: ir.Model, here: Mapping[str, np.ndarray], there: Mapping[str, np.ndarray]) -> Iterator[DifferingLayer]:
    for node in alone.graph:
        given = [(here[name], there[name]) for value in node.outputs if (name := str(value.name)) in there]
        differing = [pair for pair in given if not _is_equal(*pair)]
        if differing:
            decibels = min(_compute_sqnr(*pair) for pair in differing)
            yield DifferingLayer(str(node.name), decibels, all(_is_rounding(*pair) for pair in differing))


def _find_random(alone: ir.Model, feeds: Mapping[str, np.ndarray], config: SessionConfig) -> frozenset[str]:
    """Names of the nodes that give something else when one session, whose noise goes on from run to run, runs again."""
    session = Session(alone, config)
    first, second = session.run(feeds), session.run(feeds)
    changed = {name for name in first if not _is_equal(first[name], second[name])}
    return frozenset(str(node.name) for node in alone.graph if changed.intersection(str(v.name) for v in node.outputs))


def _is_equal(here: np.ndarray, there: np.ndarray) -> bool:
    """What is no number counts as equal to itself."""
    return np.array_equal(here, there, equal_nan=here.dtype.kind == "f")


def _compute_sqnr(here: np.ndarray, there: np.ndarray) -> float:
    if here.shape != there.shape:
        return -math.inf
    signal = here.astype(np.float64)
    return compute_sqnr_db(float(np.square(signal).sum()), float(np.square(signal - there).sum()))


def _is_rounding(here: np.ndarray, there: np.ndarray) -> bool:
    if here.dtype.kind == "f" or here.shape != there.shape:
        return _compute_sqnr(here, there) >= MIN_ROUNDING_DB
    return bool(np.abs(here.astype(np.float64) - there).max() <= 1)


def _has_body(node: ir.Node) -> bool:
    return any(value.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for value in node.attributes.values())


def _is_numeric(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
