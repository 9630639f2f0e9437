"""Small models in ONNX's textual form, and one convolution whose cost is known."""

from __future__ import annotations

import onnx_ir as ir


def model(text: str) -> ir.Model:
    return ir.from_onnx_text(text)


CONV = """<ir_version: 8, opset_import: ["" : 17]>
g (float[batch,3,height,width] x) => (float[batch,8,a,b] y)
<float[8,3,3,3] w = {ONES}, float[8] b = {0,0,0,0,0,0,0,0}> {
  y = Conv<strides=[2,2], pads=[1,1,1,1]>(x, w, b)
}""".replace("ONES", ",".join("1" * 216))
