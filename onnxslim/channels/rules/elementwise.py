"""Tie: aligned axes are the same channels; a side of size 1 joins nothing, so a gate joins what it gates."""

from __future__ import annotations

from onnxslim.channels.slots.node import DeclinedError
from onnxslim.channels.slots.op import Op


def elementwise(op: Op) -> None:
    """Any op that computes each element from the elements at the same place, with numpy's broadcasting."""
    axes = op.broadcast(op.given_inputs())
    for k in range(len(op.outputs)):
        op.set_output(k, axes)


def batch_normalization(op: Op) -> None:
    """Scale, offset, mean and variance belong to axis 1."""
    if op.get_int("training_mode", 0) or op.has_extra_outputs() or not op.get_int("spatial", 1):
        raise DeclinedError("it is in training mode, or not by channel")
    axes = op.axes(0)
    for i in range(1, 5):
        op.join(i, 0, axes[1])
    op.set_output(0, axes)


_OPS = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Celu Clip
    Cos Cosh Div Dropout Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN
    LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink
    Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor
    com.microsoft::BiasGelu com.microsoft::FastGelu com.microsoft::Gelu com.microsoft::QuickGelu
"""

RULES = {**dict.fromkeys(_OPS.split(), elementwise), "BatchNormalization": batch_normalization}
