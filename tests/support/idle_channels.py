"""A network some of whose channels say nothing, by why they do not."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tests.support.onnx_text import build, floats

IDLE_KINDS = ("zero", "constant", "unread", "multiples")

_TEXT = """(float[N,3,8,8] x) => (float[N,10] y) {
    a = Conv (x, w, b)
    r = Relu (a)
    c = Conv (r, v)
    s = Relu (c)
    p = GlobalAveragePool (s)
    f = Flatten (p)
    y = Gemm <transB = 1> (f, u)
}"""


def with_idle_channels(kind: str, idle: int = 16) -> ir.Model:
    """Three layers; the last ``idle`` of the first one's 32 channels are as :data:`IDLE_KINDS` says."""
    w, b, v, u = floats(32, 3, 3, 3), np.abs(floats(32)), floats(32, 32, 3, 3, seed=1), floats(10, 32, seed=2)
    first = 32 - idle
    if kind == "zero":
        w[first:], b[first:] = 0, -1
    elif kind == "constant":
        w[first:] = 0
    elif kind == "unread":
        v[:, first:] = 0
    else:
        w[first:], b[first:] = 2 * w[:idle], 2 * b[:idle]
    return build(_TEXT, w=w, b=b, v=v / 16, u=u)
