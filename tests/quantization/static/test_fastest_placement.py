"""Where static int8 begins: by which batch and how many threads its costs count."""

from __future__ import annotations

import pytest

from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import SessionConfig
from tests.support.quantize_graphs import model, samples, weight

NOTHING = "int8 gains nothing here"


@pytest.mark.parametrize(("batch_size", "threads", "gains"), [(1, 1, False), (64, 1, True), (64, 16, False)])
def test_what_a_node_costs_is_paid_once_for_a_batch_and_by_every_thread(batch_size: int, threads: int, gains: bool) -> None:
    # 128 x 128 products a sample save less than two conversions of their own take, but not less than their share of them
    found = model("g (float[n, 128] x) => (float[n, 128] y) { h = MatMul (x, w) y = Softmax (h) }", w=weight(128, 128))
    config = SessionConfig(batch_size=batch_size, threads=threads)
    options = QuantizeOptions(activations="static", placement="static")
    _, report = quantize(found, samples(found, 128), options, config=config)
    assert any(NOTHING in line for line in report.warnings) != gains
