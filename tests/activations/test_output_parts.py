"""Outputs that join several things are seen as their parts."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.activations.output_parts import OutputParts, find_output_parts
from onnxslim.quantization.prepare import prepare_model
from tests.support.quantize_graphs import model

SCALES = """g (float[1,4,8,8] a, float[1,8,4,4] b) => (float[1,m,9] y) {{
    {first}
    {second}
    y = Concat <axis = 1> (f, s)
}}"""


def _scale(x: str, size: int, out: str) -> str:
    """YOLOv5's head: an offset, a size and the rest joined on the last axis, the map laid out as rows."""
    return f"""{x}t = Transpose <perm = [0,2,3,1]> ({x})
    {x}c = Concat <axis = 3> ({x}t, {x}t, one{size})
    {out} = Reshape ({x}c, rows)"""


def test_parts_are_found_behind_joined_scales() -> None:
    found = model(
        SCALES.format(first=_scale("a", 8, "f"), second=_scale("b", 4, "s")).replace("float[1,8,4,4] b", "float[1,4,4,4] b"),
        one8=np.ones((1, 8, 8, 1), np.float32),
        one4=np.ones((1, 4, 4, 1), np.float32),
        rows=np.array([1, -1, 9]),
    )
    work = prepare_model(found)[0]
    assert find_output_parts(work.graph.outputs[0]) == OutputParts(-1, (4, 8, 9))


@pytest.mark.parametrize("batch", ["1", "n"])
def test_channels_that_are_parts_stay_so_where_maps_become_lists_of_cells(batch: str) -> None:
    found = model(
        """g (float[N,4,8,8] a, float[N,2,8,8] b, float[N,4,4,4] c, float[N,2,4,4] d) => (float[N,m,6] y, float[N,k] z) {
            large = Concat <axis = 1> (a, b)
            small = Concat <axis = 1> (c, d)
            f = Reshape (large, cells)
            s = Reshape (small, cells)
            joined = Concat <axis = 2> (f, s)
            y = Transpose <perm = [0, 2, 1]> (joined)
            z = Reshape (large, flat)
        }""".replace("N", batch),
        cells=np.array([0, 6, -1]),
        flat=np.array([0, -1]),
    )
    outputs = prepare_model(found)[0].graph.outputs
    assert find_output_parts(outputs[0]) == OutputParts(-1, (4, 6))
    assert find_output_parts(outputs[1]) is None


def test_a_file_with_an_endless_head_is_looked_at_no_further_than_a_head_goes() -> None:
    step = "c{1} = Concat <axis = 1> (c{0}, t{0})\n t{1} = Transpose <perm = [0,1]> (c{1})"
    joined = "\n".join(step.format(i, i + 1) for i in range(40))
    chain = "\n".join(f"r{i + 1} = Transpose <perm = [1,0]> (r{i})" for i in range(3000))
    text = f"""g (float[1,0] x) => (float[1,0] y, float[1,0] z) {{
        c0 = Relu (x)
        t0 = Relu (x)
        {joined}
        y = Identity (c40)
        r0 = Relu (x)
        {chain}
        z = Concat <axis = 1> (r3000, r3000)
    }}"""
    outputs = model(text).graph.outputs
    assert find_output_parts(outputs[0]) is None
    assert find_output_parts(outputs[1]) is None
    joined_last = outputs[0].producer()
    assert joined_last is not None
    assert joined_last.inputs[0] is not None
    assert find_output_parts(joined_last.inputs[0]) is None


def test_what_is_one_thing_has_no_parts() -> None:
    found = model("g (float[1,4] x) => (float[1,4] y) { y = Relu (x) }")
    assert find_output_parts(prepare_model(found)[0].graph.outputs[0]) is None
    assert OutputParts(-2, (1, 4)).name_parts("y") == ["y[0:1]", "y[1:4]"]
    assert [part.shape for part in OutputParts(-2, (1, 4)).split(np.zeros((2, 4, 3)))] == [(2, 1, 3), (2, 3, 3)]
