"""Where static int8 begins: by how many threads its costs count, and by which batches they do not."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import pytest

from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import SessionConfig
from tests.support.quantize_graphs import model, samples, weight

NOTHING = "int8 gains nothing here"
LAYERS = """g (float[n, 128] x) => (float[n, 128] y) {
    h = MatMul (x, w) s = Sin (h) t = MatMul (s, v) u = Sin (t) y = MatMul (u, z)
}"""


@pytest.mark.parametrize(("threads", "gains"), [(1, True), (16, False)])
def test_what_a_node_costs_is_paid_by_every_thread(threads: int, gains: bool) -> None:
    # 512 x 512 products save more than two conversions of their own take, but not when they are shared and those are not
    found = model("g (float[n, 512] x) => (float[n, 512] y) { h = MatMul (x, w) y = Softmax (h) }", w=weight(512, 512))
    options = QuantizeOptions(activations="static", placement="static")
    _, report = quantize(found, samples(found, 512), options, config=SessionConfig(threads=threads))
    assert any(NOTHING in line for line in report.warnings) != gains


@pytest.mark.parametrize(
    "options",
    [{}, {"activations": "static"}, {"activations": "dynamic"}, {"weights": "int8"}, {"weights": "mixed", "min_sqnr": 30.0}],
    ids=lambda options: "-".join(map(str, options.values())) or "auto",
)
def test_what_the_table_places_is_one_file_in_whichever_batches_the_data_are_read(options: dict[str, Any]) -> None:
    found = model(LAYERS, w=weight(128, 1024), v=weight(1024, 128), z=weight(128, 128))
    given = samples(found, 128)
    files = set()
    for batch_size in (1, 3, 64):
        config = SessionConfig(batch_size=batch_size)
        written, _ = quantize(found, given, QuantizeOptions(placement="static", **options), config=config)
        files.add(ir.to_proto(written).SerializeToString(deterministic=True))
    assert len(files) == 1
