"""Decoders of one attention layer with a cache, as exporters write them, and texts that they go on with surely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

VOCABULARY, WIDTH, POSITIONS = 23, 16, 64


def make_decoder(
    *, mask: bool = False, position_ids: bool = False, merged: bool = False, cross: bool = False, names: str = "optimum",
    part: str = "",
) -> ir.Model:  # fmt: skip
    """A decoder: ids [batch, tokens], a key and a value that grow along axis 2, logits [batch, tokens, 23].

    Args:
        mask: It takes ``attention_mask`` [batch, cached + tokens].
        position_ids: It takes the places of the tokens; else it counts them from the cache.
        merged: An ``If`` on ``use_cache_branch`` reads the cache or leaves it alone.
        cross: It attends to ``encoder_hidden_states`` [batch, frames, 16] too; merged, their keys and values are computed
            in the first step and come back empty in the others, else they are computed anew.
        names: ``optimum`` for past_key_values.0.key, else as the caches are called before ``_in`` and ``_out``.
        part: ``first`` for the file that reads a prompt and begins the caches, those of the encoder's states too; ``step``
            for the one that goes on with them and gives out its own; by default one file does both.
    """
    constants = {name: np.array(value, np.int64) for name, value in {"zero": 0, "one": 1, "two": 2}.items()}
    constants |= {"axis_1": np.array([1]), "root": np.array(4.0, np.float32), "low": np.array(-1e9, np.float32)}
    initializers = [numpy_helper.from_array(w, name) for name, w in draw_weights().items()]
    initializers += [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    past, present = _name_caches(names)
    nodes = [
        helper.make_node("Gather", ["embedding", "input_ids"], ["embedded"]),
        helper.make_node("Shape", ["input_ids"], ["ids_shape"]),
        helper.make_node("Gather", ["ids_shape", "one"], ["count"]),
        *_count_past(past[0], part),
        helper.make_node("Add", ["past_length", "count"], ["total"]),
        helper.make_node("Range", ["past_length", "total", "one"], ["counted"]),
        helper.make_node("Gather", ["places", "position_ids" if position_ids else "counted"], ["placed"]),
        helper.make_node("Add", ["embedded", "placed"], ["x"]),
        *project("x", "q"), *project("x", "k"), *project("x", "v"),
        *_join(past if part != "first" else (), ("k", "v"), present, merged),
        helper.make_node("Range", ["zero", "total", "one"], ["keys"]),
        helper.make_node("Unsqueeze", ["counted", "axis_1"], ["queries"]),
        helper.make_node("LessOrEqual", ["keys", "queries"], ["causal"]),
    ]  # fmt: skip
    if mask:
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["masked"], to=TensorProto.BOOL),
            helper.make_node("Unsqueeze", ["masked", "axis_1"], ["masked_keys"]),
            helper.make_node("Unsqueeze", ["masked_keys", "axis_1"], ["masked_scores"]),
            helper.make_node("And", ["causal", "masked_scores"], ["seen"]),
        ]
    nodes += attend("q", present, "seen" if mask else "causal", "attended")
    last = "attended"
    inputs = [declare("input_ids", ["batch_size", "sequence_length"], TensorProto.INT64)]
    outputs = [declare("logits", ["batch_size", "sequence_length", VOCABULARY])]
    if cross:
        caches = [f"past_key_values.0.encoder.{kind}" for kind in ("key", "value")]
        presents = [name.replace("past_key_values", "present") for name in caches]
        if part != "step":
            inputs.append(declare("encoder_hidden_states", ["batch_size", "frames", WIDTH]))
        nodes += _cross(caches, merged) if part != "step" else _rename(caches, ("cross_key", "cross_value"))
        nodes += _rename(("cross_key", "cross_value"), presents) if part == "first" else []
        nodes += attend("q", ("cross_key", "cross_value"), None, "crossed")
        nodes.append(helper.make_node("Add", [last, "crossed"], ["both"]))
        last = "both"
    nodes += [
        helper.make_node("Squeeze", [last, "axis_1"], ["flat"]),
        helper.make_node("Add", ["x", "flat"], ["out"]),
        helper.make_node("MatMul", ["out", "head"], ["logits"]),
    ]
    cache = ["batch_size", 1, "past_sequence_length", WIDTH]
    inputs += [declare(name, cache) for name in past if part != "first"]
    outputs += [declare(name, ["batch_size", 1, "total_sequence_length", WIDTH]) for name in present]
    if cross and (merged or part):
        inputs += [declare(name, ["batch_size", 1, "encoder_length", WIDTH]) for name in caches if part != "first"]
        outputs += [declare(name, [None, 1, None, WIDTH]) for name in presents if part != "step"]
    if mask:
        inputs.append(declare("attention_mask", ["batch_size", "total_length"], TensorProto.INT64))
    if position_ids:
        inputs.append(declare("position_ids", ["batch_size", "sequence_length"], TensorProto.INT64))
    if merged:
        inputs.append(declare("use_cache_branch", [1], TensorProto.BOOL))
    graph = helper.make_graph(nodes, "decoder", inputs, outputs, initializers)
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def draw_weights() -> dict[str, np.ndarray]:
    """Random weights of the decoder by name, float32."""
    rng = np.random.default_rng(0)
    weights = {
        "embedding": rng.standard_normal((VOCABULARY, WIDTH)),
        "places": 0.3 * rng.standard_normal((POSITIONS, WIDTH)),
        **{f"w_{name}": rng.standard_normal((WIDTH, WIDTH)) / 4 for name in ("q", "k", "v", "ck", "cv")},
        "head": rng.standard_normal((WIDTH, VOCABULARY)),
    }
    return {name: weight.astype(np.float32) for name, weight in weights.items()}


def make_texts(*lengths: int, seed: int = 0) -> list[np.ndarray]:
    """Ids of texts of these lengths."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCABULARY, n) for n in lengths]


def _name_caches(names: str) -> tuple[tuple[str, str], tuple[str, str]]:
    if names == "optimum":
        return ("past_key_values.0.key", "past_key_values.0.value"), ("present.0.key", "present.0.value")
    return (f"{names}_k_in", f"{names}_v_in"), (f"{names}_k_out", f"{names}_v_out")


def declare(name: str, dims: list[str | int | None], kind: int = TensorProto.FLOAT):  # type: ignore[no-untyped-def]
    return helper.make_tensor_value_info(name, kind, dims)


def project(source: str, name: str) -> list[NodeProto]:
    return [
        helper.make_node("MatMul", [source, f"w_{name}"], [f"{name}_flat"]),
        helper.make_node("Unsqueeze", [f"{name}_flat", "axis_1"], [name]),
    ]


def _branch(name: str, nodes: list[NodeProto], outputs: list[str]) -> GraphProto:
    return helper.make_graph(nodes, name, [], [declare(output, [None, 1, None, WIDTH]) for output in outputs])


def _count_past(cache: str, part: str) -> list[NodeProto]:
    if part == "first":
        return _rename(["zero"], ["past_length"])
    return [
        helper.make_node("Shape", [cache], ["past_shape"]),
        helper.make_node("Gather", ["past_shape", "two"], ["past_length"]),
    ]


def _rename(names: Sequence[str], others: Sequence[str]) -> list[NodeProto]:
    return [helper.make_node("Identity", [a], [b]) for a, b in zip(names, others, strict=True)]


def _join(past: tuple[str, ...], new: tuple[str, ...], present: tuple[str, ...], merged: bool) -> list[NodeProto]:
    if not past:
        return _rename(new, present)
    if not merged:
        return [helper.make_node("Concat", [a, b], [c], axis=2) for a, b, c in zip(past, new, present, strict=True)]
    joined = [f"{name}_joined" for name in new]
    fresh = [f"{name}_fresh" for name in new]
    cached = [helper.make_node("Concat", [a, b], [c], axis=2) for a, b, c in zip(past, new, joined, strict=True)]
    alone = [helper.make_node("Identity", [b], [c]) for b, c in zip(new, fresh, strict=True)]
    branches = {"then_branch": _branch("cached", cached, joined), "else_branch": _branch("alone", alone, fresh)}
    return [helper.make_node("If", ["use_cache_branch"], list(present), **branches)]


def _cross(caches: list[str], merged: bool) -> list[NodeProto]:
    if not merged:
        computed = [*project("encoder_hidden_states", "ck"), *project("encoder_hidden_states", "cv")]
        names = {"ck": "cross_key", "cv": "cross_value"}
        return [*computed, *(helper.make_node("Identity", [a], [b]) for a, b in names.items())]
    computed = [*project("encoder_hidden_states", "ck"), *project("encoder_hidden_states", "cv")]
    empty = helper.make_tensor("nothing", TensorProto.FLOAT, [0, 1, 0, WIDTH], [])
    kept = [
        helper.make_node("Identity", [caches[0]], ["kept_key"]),
        helper.make_node("Identity", [caches[1]], ["kept_value"]),
        helper.make_node("Constant", [], ["no_key"], value=empty),
        helper.make_node("Constant", [], ["no_value"], value=empty),
    ]
    fresh = [*computed, *(helper.make_node("Identity", [a], [f"{a}_out"]) for a in ("ck", "cv"))]
    presents = [name.replace("past_key_values", "present") for name in caches]
    branches = {
        "then_branch": _branch("kept", kept, ["kept_key", "kept_value", "no_key", "no_value"]),
        "else_branch": _branch("computed", fresh, ["ck", "cv", "ck_out", "cv_out"]),
    }
    return [helper.make_node("If", ["use_cache_branch"], ["cross_key", "cross_value", *presents], **branches)]


def attend(query: str, cache: tuple[str, ...], mask: str | None, result: str) -> list[NodeProto]:
    key, value = cache
    nodes = [
        helper.make_node("Transpose", [key], [f"{result}_kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", [query, f"{result}_kt"], [f"{result}_raw"]),
        helper.make_node("Div", [f"{result}_raw", "root"], [f"{result}_scores"]),
    ]
    scores = f"{result}_scores"
    if mask is not None:
        nodes.append(helper.make_node("Where", [mask, scores, "low"], [f"{result}_seen"]))
        scores = f"{result}_seen"
    return [
        *nodes,
        helper.make_node("Softmax", [scores], [f"{result}_weights"], axis=-1),
        helper.make_node("MatMul", [f"{result}_weights", value], [result]),
    ]
