"""Whatever ONNX can express is analysed without an error."""

from __future__ import annotations

import warnings

import onnx_ir as ir
import pytest
from onnx.backend.test.case.node import collect_testcases

from onnxslim.channels.analysis import units
from onnxslim.channels.blocks import blocks
from onnxslim.channels.lossless import remove_lossless


@pytest.mark.nightly
def test_every_node_case_of_onnx() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases()
    assert len(cases) > 1000
    for case in cases:
        model = ir.from_proto(case.model)
        units(model)
        units(model, lossy=True)
        blocks(model)
        remove_lossless(model)
