"""Small models with random weights, with the inputs and outputs that exporters of transformers give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

#: Element type and shape of an input; name and shape of an output.
Input = tuple[int, Sequence[int | str]]
Output = tuple[str, Sequence[int | str]]

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"word{i}" for i in range(60)))
HIDDEN, CLASSES, PIXELS = 16, 4, 16


def make_text_encoder(*, hidden: int = HIDDEN, words: int = len(WORDS), tokens: int | str = "sequence_length",
                      classes: int = 0, seed: int = 0) -> ModelProto:  # fmt: skip
    """Ids and their mask → the states of all tokens and their mean, or with ``classes`` logits."""
    rng = np.random.default_rng(seed)
    weights = {
        "table": (words, hidden),
        "w1": (hidden, 4 * hidden),
        "w2": (4 * hidden, hidden),
        "head": (hidden, classes or 1),
    }
    constants = {name: (rng.standard_normal(shape) / 4).astype(np.float32) for name, shape in weights.items()}
    constants |= {"axis": np.array([1], np.int64), "last": np.array([2], np.int64)}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x0"]),
        helper.make_node("MatMul", ["x0", "w1"], ["x1"]),
        helper.make_node("Relu", ["x1"], ["x2"]),
        helper.make_node("MatMul", ["x2", "w2"], ["x3"]),
        helper.make_node("Add", ["x0", "x3"], ["last_hidden_state"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["kept"]),
        helper.make_node("Mul", ["last_hidden_state", "kept"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "axis"], ["summed"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "axis"], ["count"], keepdims=1),
        helper.make_node("Div", ["summed", "count"], ["sentence_embedding"]),
    ]
    states = ("last_hidden_state", ["batch_size", tokens, hidden])
    outputs = [states, ("sentence_embedding", ["batch_size", hidden])]
    if classes:
        nodes.append(helper.make_node("MatMul", ["sentence_embedding", "head"], ["logits"]))
        outputs = [("logits", ["batch_size", classes])]
    else:
        del constants["head"]
    inputs = {name: (TensorProto.INT64, ["batch_size", tokens]) for name in ("input_ids", "attention_mask")}
    return _make_model(nodes, inputs, outputs, constants)


def make_image_classifier(*, classes: int = CLASSES, pixels: int | str = PIXELS, seed: int = 0) -> ModelProto:
    """``pixel_values`` → logits."""
    rng = np.random.default_rng(seed)
    shapes = {"k1": (8, 3, 3, 3), "b1": (8,), "k2": (16, 8, 3, 3), "b2": (16,), "fc": (classes, 16), "fb": (classes,)}
    constants = {name: (rng.standard_normal(shape) / 3).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["pixel_values", "k1", "b1"], ["c1"], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "k2", "b2"], ["c2"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc", "fb"], ["logits"], transB=1),
    ]
    inputs = {"pixel_values": (TensorProto.FLOAT, ["batch_size", 3, pixels, pixels])}
    return _make_model(nodes, inputs, [("logits", ["batch_size", classes])], constants)


def make_detector(*, seed: int = 0) -> ModelProto:
    """``pixel_values`` and ``pixel_mask`` of any size → logits and boxes of 5 queries."""
    rng = np.random.default_rng(seed)
    constants = {"k": (rng.standard_normal((8, 3, 3, 3)) / 3).astype(np.float32), "shape": np.array([0, 5, 4], np.int64),
                 "fc": rng.standard_normal((8, 20)).astype(np.float32),
                 "fb": rng.standard_normal((8, 20)).astype(np.float32), "axis": np.array([1], np.int64)}  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["pixel_mask"], ["float_mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["float_mask", "axis"], ["mask"]),
        helper.make_node("Mul", ["pixel_values", "mask"], ["seen"]),
        helper.make_node("Conv", ["seen", "k"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "fc"], ["l"]),
        helper.make_node("Reshape", ["l", "shape"], ["logits"]),
        helper.make_node("MatMul", ["flat", "fb"], ["b"]),
        helper.make_node("Sigmoid", ["b"], ["s"]),
        helper.make_node("Reshape", ["s", "shape"], ["pred_boxes"]),
    ]
    sides = ["height", "width"]
    inputs = {"pixel_values": (TensorProto.FLOAT, ["batch_size", 3, *sides]),
              "pixel_mask": (TensorProto.INT64, ["batch_size", *sides])}  # fmt: skip
    return _make_model(nodes, inputs, [("logits", ["batch_size", 5, 4]), ("pred_boxes", ["batch_size", 5, 4])], constants)


def make_speech_encoder(*, mels: int = 80, frames: int = 3000, seed: int = 0) -> ModelProto:
    """``input_features`` (mels, frames) → hidden states."""
    rng = np.random.default_rng(seed)
    constants = {"k": (rng.standard_normal((HIDDEN, mels, 3)) / 9).astype(np.float32), "b": np.zeros(HIDDEN, np.float32),
                 "w": rng.standard_normal((HIDDEN, HIDDEN)).astype(np.float32)}  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["input_features", "k", "b"], ["c"], pads=[1, 1], strides=[2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["t", "w"], ["last_hidden_state"]),
    ]
    inputs = {"input_features": (TensorProto.FLOAT, ["batch_size", mels, frames])}
    return _make_model(nodes, inputs, [("last_hidden_state", ["batch_size", frames // 2, HIDDEN])], constants)


def make_cross_decoder(*, seed: int = 0) -> ModelProto:
    """Ids, encoder states and their mask → logits, without a cache."""
    rng = np.random.default_rng(seed)
    constants = {name: (rng.standard_normal(shape) / 4).astype(np.float32)
                 for name, shape in {"table": (len(WORDS), HIDDEN), "head": (HIDDEN, len(WORDS))}.items()}  # fmt: skip
    constants |= {"axis": np.array([1], np.int64), "last": np.array([2], np.int64)}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x"]),
        helper.make_node("Cast", ["encoder_attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["kept"]),
        helper.make_node("Mul", ["encoder_hidden_states", "kept"], ["masked"]),
        helper.make_node("ReduceMean", ["masked"], ["context"], axes=[1]),
        helper.make_node("Add", ["x", "context"], ["y"]),
        helper.make_node("MatMul", ["y", "head"], ["logits"]),
    ]
    inputs = {
        "encoder_attention_mask": (TensorProto.INT64, ["batch_size", "encoder_sequence_length"]),
        "input_ids": (TensorProto.INT64, ["batch_size", "decoder_sequence_length"]),
        "encoder_hidden_states": (TensorProto.FLOAT, ["batch_size", "encoder_sequence_length", HIDDEN]),
    }
    return _make_model(nodes, inputs, [("logits", ["batch_size", "decoder_sequence_length", len(WORDS)])], constants)


def _make_model(
    nodes: list[Any], inputs: Mapping[str, Input], outputs: Sequence[Output],
    constants: Mapping[str, np.ndarray],
) -> ModelProto:  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
