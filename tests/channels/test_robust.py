"""Whatever ONNX can express is analysed without an error."""

from __future__ import annotations

import warnings

import onnx_ir as ir
import pytest
from onnx.backend.test.case.node import collect_testcases

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.channels.lossless.removal import remove_lossless
from onnxslim.channels.removable_blocks import find_blocks


@pytest.mark.nightly
def test_every_node_case_of_onnx() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases()
    assert len(cases) > 1000
    for case in cases:
        model = ir.from_proto(case.model)
        analyze_channels(model)
        analyze_channels(model, lossy=True)
        find_blocks(model)
        remove_lossless(model)
