"""Good models with bytes flipped, cut out, put in and doubled: each loads and can be written, or is refused."""

from __future__ import annotations

import contextlib
import glob
import os
import random

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.core.errors import OnnxslimError
from onnxslim.model_io import model_file


def rich(dice: random.Random) -> bytes:
    """A branch, a function, a constant, strings, and now and then a reference to a file."""
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    then, other = (
        helper.make_graph(
            [helper.make_node("Mul", ["x", weight], [out])], out, [], [helper.make_tensor_value_info(out, 1, [2])]
        )
        for out, weight in (("t", "w"), ("e", "k"))
    )
    constant = numpy_helper.from_array(np.arange(2, dtype=np.float32))
    nodes = [
        helper.make_node("Constant", [], ["k"], name="constant", value=constant),
        helper.make_node("If", ["c"], ["i"], name="if", then_branch=then, else_branch=other),
        helper.make_node("F", ["i"], ["y"], name="call", domain="local"),
    ]
    body = [helper.make_node("Relu", ["a"], ["b"])]
    outside = TensorProto(name="v", data_type=1, dims=[2], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="v.bin")
    initializers = [
        numpy_helper.from_array(np.ones(2, np.float32), "w"),
        helper.make_tensor("c", TensorProto.BOOL, [], [True]),
        helper.make_tensor("s", TensorProto.STRING, [1], [b"word"]),
        *([outside] if dice.random() < 0.1 else []),
    ]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], initializers)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    function = helper.make_function("local", "F", ["a"], ["b"], body, imports[:1])
    return helper.make_model(graph, opset_imports=imports, ir_version=8, functions=[function]).SerializeToString()


def squeezenet() -> bytes:
    folder = os.path.join(os.path.dirname(onnx.__file__), "backend/test/data/light")
    with open(next(iter(glob.glob(os.path.join(folder, "*squeezenet*.onnx")))), "rb") as file:
        return file.read()


def mutated(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 5])):
        at, size = dice.randrange(len(changed)), dice.choice([1, 1, 2, 4, 30])
        piece = changed[at : at + size]
        match dice.randrange(5):
            case 0:
                changed[at] ^= 1 << dice.randrange(8)
            case 1:
                del changed[at : at + size]
            case 2:
                changed[at:at] = dice.randbytes(size)
            case 3:
                changed[at:at] = piece
            case 4:
                where = dice.randrange(len(changed))
                changed[where : where + size] = piece
    return bytes(changed)


def attempt(source: str, seed: int) -> bool:
    dice = random.Random(seed)
    with contextlib.suppress(OnnxslimError):
        model = model_file.load(mutated(rich(dice) if source == "rich" else squeezenet(), dice))
        model_file.to_bytes(model)
        return True
    return False


@pytest.mark.parametrize("source", ["rich", "squeezenet"])
def test_a_mutation_loads_or_is_refused(source):
    loaded = [attempt(source, seed) for seed in range(400 if source == "rich" else 100)]
    assert 0 < sum(loaded) < len(loaded)


@pytest.mark.nightly
def test_thirty_thousand_mutations_load_or_are_refused():
    for seed in range(30_000):
        attempt("rich", seed)
