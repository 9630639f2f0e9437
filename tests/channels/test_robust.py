"""Whatever ONNX can express is analysed without an error."""

from __future__ import annotations

import warnings

import numpy as np
import onnx_ir as ir
import pytest
from onnx import NodeProto, helper
from onnx.backend.test.case.node import collect_testcases

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.channels.lossless.removal import remove_lossless
from onnxslim.channels.removable_blocks import find_blocks
from tests.support.node_graphs import build


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


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Shape", ["scalar"], ["s"]), helper.make_node("Mul", ["s", "s"], ["z"])],
        [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Slice", ["s", "i0", "i1", "i0", "i0"], ["z"])],
        [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "i9"], ["z"])],
    ],
    ids=["empty product", "step of 0", "index out of range"],
)
def test_sizes_that_cannot_be_followed_do_not_end_the_analysis(nodes: list[NodeProto]) -> None:
    layers = [helper.make_node("Conv", ["x", "w"], ["h"], "first"), helper.make_node("Conv", ["h", "v"], ["y"], "second")]
    weights = {"w": np.ones((4, 3, 1, 1), np.float32), "v": np.ones((2, 4, 1, 1), np.float32)}
    indices = {f"i{k}": np.array([k], np.int64) for k in (0, 1, 9)}
    outputs: dict[str, list[str | int]] = {"y": [1, 2, 5, 5], "z": ["k"]}
    model = build([*layers, *nodes], {"x": [1, 3, 5, 5], "scalar": []}, outputs, weights | indices)
    model.graph.outputs[1].type = ir.TensorType(ir.DataType.INT64)
    assert analyze_channels(model).count == 4


@pytest.mark.parametrize(
    "call",
    [
        *(f"Conv<{wrong}>(h, v)" for wrong in ("group=3", "group=0", "strides=[0,0]", "pads=[1]", "kernel_shape=[5]")),
        *("ConvTranspose<group=0>(h, v)", "ConvTranspose<group=3>(h, v)", "BatchNormalization(h, one, one, one, one)"),
        *("GroupNormalization<num_groups=0>(h, one, one)", "Transpose<perm=[0,0,1,1]>(h)", "Concat<axis=9>(h, h)"),
        *("DepthToSpace<blocksize=0>(h)", "DepthToSpace<blocksize=3>(h)", "SpaceToDepth<blocksize=0>(h)"),
        *("MaxPool<kernel_shape=[2]>(h)", "Gather<axis=9>(h, far)", "Gather<axis=1>(h, far)", "Reshape(h, far)"),
        *("Squeeze(h, far)", "Slice(h, far, far, far, far)", "Pad(h, far)", "Split<axis=1>(h, far)", "Tile(h, far)"),
        *(
            "Gemm(h, v)",
            "MatMul(h, odd)",
            "PRelu(h, odd)",
            "Add(h, odd)",
            "LSTM<hidden_size=7>(h, v, v)",
            "Resize(h, , one)",
        ),
        *('Einsum<equation="->">(h, h)', "LayerNormalization<axis=9>(h, one)", "Attention<q_num_heads=0>(h, h, h)"),
    ],
)
def test_a_node_that_the_runtime_would_refuse_ends_no_analysis(call: str) -> None:
    """Of a model that is wrong the runtime says why; here its other layers are looked at all the same."""
    sizes = {"w": (8, 3, 1, 1), "u": (2, 8, 1, 1), "v": (8, 8, 3, 3), "one": (1,), "odd": (5, 7)}
    weights = [f"float{[*dims]} {name} = {{{','.join(['1'] * int(np.prod(dims)))}}}" for name, dims in sizes.items()]
    model = ir.from_onnx_text(f"""<ir_version: 10, opset_import: ["" : 23]>
    g (float[n,3,6,6] x) => (float[n,2,6,6] y, float z) <{", ".join(weights)}, int64[1] far = {{9}}> {{
      h = Conv(x, w)
      y = Conv(h, u)
      z = {call}
    }}""")
    for lossy in (False, True):
        assert analyze_channels(model, lossy=lossy).layers
    find_blocks(model)
    remove_lossless(model)
