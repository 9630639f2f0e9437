"""Where nothing but the exact steps passes the gate, a search tells what it could have given."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.pipeline.result import Result
from onnxslim.search.optimization import optimize
from tests.support.quantize_graphs import model, weight


def maps() -> ir.Model:
    text = """g (float[n,16,8,8] x) => (float[n,32,8,8] y) {
        c = Conv <pads = [1,1,1,1]> (x, w)
        r = Relu (c)
        y = Conv <pads = [1,1,1,1]> (r, v)
    }"""
    return model(text, w=weight(32, 16, 3, 3), v=weight(32, 32, 3, 3))


def searched(limit: float) -> Result:
    x = np.random.default_rng(0).standard_normal((64, 16, 8, 8)).astype(np.float32)
    return optimize(maps(), data={"x": x}, max_drop=limit, budget=15, placement="static")


def advised(result: Result) -> list[str]:
    return [line for line in result.warnings if "--max-drop" in line]


def test_it_says_which_drop_would_have_to_be_accepted() -> None:
    result = searched(0.002)
    assert result.extra["chosen"] == "lossless"
    (line,) = advised(result)
    assert "times smaller, and drops relative by" in line
    asked = float(line.split("--max-drop ")[1].split("%")[0]) / 100
    named = line.split(" is ")[0]
    (entry,) = [entry for entry in result.extra["candidates"] if entry["name"] == named]
    assert 0.002 < entry["tune_drop"] < asked <= 0.03


@pytest.mark.parametrize(("limit", "lossless"), [(0.2, False), (0.00001, True)], ids=["int8 passes", "nothing comes near"])
def test_where_something_was_gained_or_nothing_comes_near_it_is_silent(limit: float, lossless: bool) -> None:
    result = searched(limit)
    assert (result.extra["chosen"] == "lossless") is lossless
    assert advised(result) == []
