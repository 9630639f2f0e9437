"""Where nothing but the exact steps passes the gate, a search tells what it could have given."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.optimize import optimize
from tests.quantize.test_float16 import model
from tests.quantize.test_graphs import weight


def maps() -> ir.Model:
    text = """g (float[n,16,8,8] x) => (float[n,32,8,8] y) {
        c = Conv <pads = [1,1,1,1]> (x, w)
        r = Relu (c)
        y = Conv <pads = [1,1,1,1]> (r, v)
    }"""
    return model(text, w=weight(32, 16, 3, 3), v=weight(32, 32, 3, 3))


@pytest.mark.parametrize("limit", [0.0001, 0.2])
def test_it_says_which_drop_would_have_to_be_accepted(limit: float) -> None:
    x = np.random.default_rng(0).standard_normal((64, 16, 8, 8)).astype(np.float32)
    result = optimize(maps(), data={"x": x}, max_drop=limit, budget=15, placement="static")
    told = [line for line in result.warnings if "--max-drop" in line]
    if result.extra["chosen"] != "lossless":
        assert limit > 0.01
        assert not told
        return
    assert limit < 0.01
    (line,) = told
    assert "times smaller, and drops relative by" in line
    asked = float(line.split("--max-drop ")[1].split("%")[0]) / 100
    named = line.split(" is ")[0]
    (entry,) = [entry for entry in result.extra["candidates"] if entry["name"] == named]
    assert limit < entry["tune_drop"] < asked < 1
