"""The decoder of :mod:`tests.support.decoders` with a cache of a fixed size, which it writes by position in many ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tests.support.decoders import VOCABULARY, WIDTH, attend, declare, draw_weights, project

CAPACITY = 48

#: Arguments of :func:`make_static_decoder` by what they are about.
STATIC_VARIANTS: dict[str, dict[str, Any]] = {
    "ScatterND": {},
    "ScatterND of every index": {"write": "all indices"},
    "ScatterElements": {"write": "ScatterElements"},
    "Where": {"write": "Where"},
    "what is before, new and behind": {"write": "Concat", "position": "start_pos"},
    "one token at a time": {"tokens": 1},
    "one token, a scalar position": {"tokens": 1, "position": "past_length", "write": "Where"},
    "an additive mask": {"mask": "float"},
    "a mask of booleans": {"mask": "bool"},
    "a mask of all places": {"mask": "places"},
}


def make_static_decoder(
    *, write: str = "ScatterND", position: str = "cache_position", tokens: str | int = "tokens", mask: str = ""
) -> ir.Model:
    """A decoder: ids [1, tokens], a key and a value [1, 1, 48, 16] that come back as large, logits [1, tokens, 23].

    Args:
        write: How the cache is written.
        position: The input that says where: ``cache_position`` [tokens], ``start_pos`` [1], or a scalar.
        tokens: How many it reads at once.
        mask: What it is told to see: the causal mask as floats or booleans, or as ones for the places that are filled.
    """
    constants: dict[str, Any] = {
        "zero": np.array(0), "one": np.array(1), "axis_0": np.array([0]), "axis_1": np.array([1]), "axis_2": np.array([2]),
        "last": np.array([-1]), "keys": np.arange(CAPACITY), "end": np.array([CAPACITY]), "flat": np.array([-1]),
        "like_elements": np.array([1, 1, -1, 1]), "elements": np.array([1, 1, 1, WIDTH]), "width": np.arange(WIDTH),
        "root": np.array(4.0, np.float32), "low": np.array(-1e9, np.float32), "pair": np.array([1, 1, -1, 1]),
    }  # fmt: skip
    initializers = [numpy_helper.from_array(w, name) for name, w in draw_weights().items()]
    initializers += [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    nodes = [
        helper.make_node("Gather", ["embedding", "input_ids"], ["embedded"]),
        helper.make_node("Shape", ["input_ids"], ["ids_shape"]),
        helper.make_node("Gather", ["ids_shape", "one"], ["count"]),
        helper.make_node("Reshape", [position, "flat"], ["first"]),
    ]
    if position == "cache_position":
        nodes.append(helper.make_node("Identity", [position], ["places_of"]))
    else:
        nodes += [
            helper.make_node("Range", ["zero", "count", "one"], ["steps"]),
            helper.make_node("Add", ["steps", "first"], ["places_of"]),
        ]
    nodes += [
        helper.make_node("Gather", ["places", "places_of"], ["placed"]),
        helper.make_node("Add", ["embedded", "placed"], ["x"]),
        *project("x", "q"), *project("x", "k"), *project("x", "v"),
    ]  # fmt: skip
    for kind, name in (("k", "key"), ("v", "value")):
        nodes += _write(write, f"past_{name}", kind, f"present_{name}")
    nodes += [
        helper.make_node("Unsqueeze", ["places_of", "axis_1"], ["queries"]),
        helper.make_node("LessOrEqual", ["keys", "queries"], ["causal"]),
    ]
    seen = "causal"
    if mask == "places":
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["filled"], to=TensorProto.BOOL),
            helper.make_node("And", ["causal", "filled"], ["seen"]),
        ]
        seen = "seen"
    elif mask == "bool":
        seen = "attention_mask"
    elif mask == "float":
        nodes += [helper.make_node("GreaterOrEqual", ["attention_mask", "nothing"], ["seen"])]
        initializers.append(numpy_helper.from_array(np.array(0, np.float32), "nothing"))
        seen = "seen"
    nodes += [
        *attend("q", ("present_key", "present_value"), seen, "attended"),
        helper.make_node("Squeeze", ["attended", "axis_1"], ["heard"]),
        helper.make_node("Add", ["x", "heard"], ["out"]),
        helper.make_node("MatMul", ["out", "head"], ["logits"]),
    ]
    shapes = {"cache_position": [tokens], "start_pos": [1], "past_length": []}
    inputs = [
        declare("input_ids", [1, tokens], TensorProto.INT64), declare(position, shapes[position], TensorProto.INT64),
        *(declare(f"past_{name}", [1, 1, CAPACITY, WIDTH]) for name in ("key", "value")),
    ]  # fmt: skip
    if mask:
        kind = {"float": TensorProto.FLOAT, "bool": TensorProto.BOOL, "places": TensorProto.INT64}[mask]
        dims = [1, CAPACITY] if mask == "places" else [1, 1, tokens, CAPACITY]
        inputs.append(declare("attention_mask", dims, kind))
    outputs = [declare("logits", [1, tokens, VOCABULARY])]
    outputs += [declare(f"present_{name}", [1, 1, CAPACITY, WIDTH]) for name in ("key", "value")]
    graph = helper.make_graph(nodes, "decoder", inputs, outputs, initializers)
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))


def _write(how: str, cache: str, new: str, out: str) -> list[NodeProto]:
    """``cache`` with ``new`` [1, 1, tokens, 16] at the places of the tokens."""

    def node(op: str, inputs: list[str], *outputs: str, **attributes: Any) -> NodeProto:
        return helper.make_node(op, inputs, [f"{out}_{name}" if name else out for name in outputs], **attributes)

    if how == "ScatterND":  # cache.index_copy_(2, places, new)
        return [
            node("Transpose", [cache], "moved", perm=[2, 1, 0, 3]),
            node("Transpose", [new], "rows", perm=[2, 1, 0, 3]),
            node("Unsqueeze", ["places_of", "last"], "indices"),
            node("ScatterND", [f"{out}_moved", f"{out}_indices", f"{out}_rows"], "written"),
            node("Transpose", [f"{out}_written"], "", perm=[2, 1, 0, 3]),
        ]
    if how == "all indices":  # cache[:, :, places] = new
        return [
            node("Unsqueeze", ["places_of", "last"], "column"),
            node("Mul", [f"{out}_column", "zero"], "zeros"),
            node("Concat", [f"{out}_zeros", f"{out}_zeros", f"{out}_column"], "rows", axis=1),
            node("Squeeze", [new, "axis_0"], "flat"),
            node("Squeeze", [f"{out}_flat", "axis_0"], "updates"),
            node("ScatterND", [cache, f"{out}_rows", f"{out}_updates"], ""),
        ]
    if how == "ScatterElements":
        return [
            node("Reshape", ["places_of", "like_elements"], "column"),
            node("Expand", [f"{out}_column", "elements"], "indices"),
            node("ScatterElements", [cache, f"{out}_indices", new], "", axis=2),
        ]
    if how == "Concat":
        return [
            node("Slice", [cache, "axis_0", "first", "axis_2"], "before"),
            node("Add", ["first", "count"], "next"),
            node("Slice", [cache, f"{out}_next", "end", "axis_2"], "behind"),
            node("Concat", [f"{out}_before", new, f"{out}_behind"], "", axis=2),
        ]
    return [  # a Where of the rows that each place takes
        node("Unsqueeze", ["keys", "axis_1"], "slots"),
        node("Equal", [f"{out}_slots", "places_of"], "matches"),
        node("Cast", [f"{out}_matches"], "chosen", to=TensorProto.FLOAT),
        node("MatMul", [f"{out}_chosen", new], "rows"),
        node("ReduceMax", [f"{out}_chosen", "axis_1"], "written", keepdims=1),
        node("Cast", [f"{out}_written"], "is_new", to=TensorProto.BOOL),
        node("Where", [f"{out}_is_new", f"{out}_rows", cache], ""),
    ]
