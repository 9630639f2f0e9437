"""Layers with nothing between them become one, where that costs no more."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.graph.cost import compute_cost
from onnxslim.pruning.low_rank.merge_linear import merge_layers
from onnxslim.runtime.session import check_loads
from tests.support import nets
from tests.support.nets import run

CHAINS = {
    "conv then 1x1": (lambda b: b.conv(b.conv("x", 6, 12), 12, 4, 1), True),
    "strided conv then strided 1x1": (lambda b: b.conv(b.conv("x", 6, 12, stride=2), 12, 4, 1, stride=2), True),
    "1x1 then padded conv": (lambda b: b.conv(b.conv("x", 6, 12, 1), 12, 8, 3), False),
    "conv, Relu, 1x1": (lambda b: b.conv(b.op("Relu", b.conv("x", 6, 12)), 12, 4, 1), False),
    "grouped": (lambda b: b.conv(b.conv("x", 6, 12, 3, 3), 12, 4, 1), False),
    "wide after narrow": (lambda b: b.conv(b.conv("x", 6, 2), 2, 64, 1), False),
}


@pytest.mark.parametrize("name", CHAINS)
def test_layers_with_nothing_between_them_are_one(name: str) -> None:
    make, expected = CHAINS[name]
    b = nets.Builder(["n", 6, 9, 9])
    model = b.model(make(b))
    result, merged = merge_layers(model, ())
    assert (merged == 1) == expected
    check_loads(result)
    np.testing.assert_allclose(run(result), run(model), atol=1e-4)
    assert compute_cost(result).macs <= compute_cost(model).macs
    assert merge_layers(model, (".",))[0].graph.num_nodes() == model.graph.num_nodes()


@pytest.mark.parametrize("bias", [False, True])
def test_an_unpadded_or_unbiased_1x1_goes_into_the_kernel_behind_it(bias: bool) -> None:
    b = nets.Builder(["n", 6, 9, 9])
    inner = b.op("Conv", "x", b.weight(12, 6, 1, 1), *([b.weight(12)] if bias else []))
    pads = [0] * 4 if bias else [1] * 4
    model = b.model(b.op("Conv", inner, b.weight(8, 12, 3, 3), b.weight(8), pads=pads))
    result, merged = merge_layers(model, ())
    assert merged == 1
    np.testing.assert_allclose(run(result), run(model), atol=1e-4)


def test_products_in_a_row_are_one() -> None:
    b = nets.Builder(["n", 5, 24])
    x = b.op("Add", b.op("MatMul", "x", b.weight(24, 20)), b.weight(20))
    x = b.op("Add", b.op("MatMul", x, b.weight(20, 12)), b.weight(12))
    model = b.model(b.op("MatMul", b.op("Relu", x), b.weight(12, 3)))
    result, merged = merge_layers(model, ())
    assert merged == 1
    np.testing.assert_allclose(run(result), run(model), atol=1e-4)
    assert [node.op_type for node in result.graph] == ["MatMul", "Add", "Relu", "MatMul"]
