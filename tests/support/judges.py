"""Judges of drops that know for certain."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from onnxslim.quantization.context import DropOverLimit


def judge_by(excess: Callable[[ir.Model], float]) -> Callable[[ir.Model], DropOverLimit]:
    """What a quantize step is judged by where ``excess`` says how many times what is allowed a model drops."""

    def judge(model: ir.Model) -> DropOverLimit:
        found = excess(model)
        return DropOverLimit(found, found)

    return judge
