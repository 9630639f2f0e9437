"""Whether the installed runtime's integer products come out exact on the processor at hand, kernel by kernel.

A kernel that adds two products in 16 bits saturates or wraps around where both are large. Inputs and weights here are as
large as their types allow, so that a kernel that goes wrong at all does so here; ``quantization/evaluation/
saturating_layers.py`` says which layers of a model can meet it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import OnnxslimError
from onnxslim.quantization.conformance.toy_models import ToyModel
from onnxslim.runtime.session import Session, SessionConfig

#: Channels that every processor's widest kernel takes.
_CHANNELS, _SIZE = 64, 6
#: What requantizing may round differently.
_MAX_CODE_ERROR = 1


@dataclass(frozen=True)
class ProductCheck:
    """One kernel, fed with the largest codes.

    Attributes:
        description: Which, in words.
        activation: Of the activations, uint8 or int8.
        lowest: The lowest weight; the highest is 127, or 255 of uint8 weights.
        kernel: Height and width of a convolution; 0 is a linear layer.
        is_depthwise: Whether each channel is convolved by itself.
    """

    description: str
    activation: type[np.integer]
    lowest: int
    kernel: int = 0
    is_depthwise: bool = False

    def is_exact(self, config: SessionConfig | None = None) -> bool | None:
        """Whether the runtime computes what integers say; None where it has no such kernel."""
        try:
            return self._check_conv(config) if self.kernel else self._check_linear(config)
        except OnnxslimError:
            return None

    def _draw_codes(self, *shape: int) -> np.ndarray:
        """Runs of the lowest and of the highest activation code."""
        limits = np.iinfo(self.activation)
        codes = np.full(shape, limits.max, self.activation)
        codes[..., : shape[-1] // 2] = limits.min
        return codes

    def _draw_weights(self, *shape: int) -> np.ndarray:
        """Weights whose outputs are the lowest and the highest in turn."""
        dtype = np.uint8 if self.lowest == 0 else np.int8
        weights = np.full(shape, np.iinfo(dtype).max, dtype)
        weights[::2] = self.lowest
        return weights

    def _check_linear(self, config: SessionConfig | None) -> bool:
        # the codes of a row are alike, so that neighbors add up
        codes = np.ascontiguousarray(self._draw_codes(_CHANNELS, _CHANNELS).T)
        weights = np.ascontiguousarray(self._draw_weights(_CHANNELS, _CHANNELS).T)
        toy = ToyModel(_CHANNELS, _CHANNELS)
        toy.x.type = ir.TensorType(_get_type(codes))
        product = toy("MatMulInteger", toy.x, toy.constant(weights, weights.dtype))
        product.type = ir.TensorType(ir.DataType.INT32)
        (found,) = Session(toy.build(product), config).run({"x": codes}).values()
        return bool(np.array_equal(found, codes.astype(np.int64) @ weights.astype(np.int64)))

    def _check_conv(self, config: SessionConfig | None) -> bool:
        channels_in = 1 if self.is_depthwise else _CHANNELS
        weights = self._draw_weights(_CHANNELS, channels_in, self.kernel, self.kernel)
        codes = self._draw_codes(1, _CHANNELS, _SIZE, _SIZE)
        middle = 128 if self.activation is np.uint8 else 0
        count = channels_in * self.kernel**2
        scale = 128.0 * 128.0 * count / 127.0
        toy = ToyModel(1, _CHANNELS, _SIZE, _SIZE)
        toy.x.type = ir.TensorType(_get_type(codes))
        zero = toy.constant(middle, self.activation)
        one, weight_zeros = toy.constant(1.0), toy.constant(np.zeros(_CHANNELS), np.int8)
        result = toy(
            "QLinearConv", toy.x, one, zero, toy.constant(weights, np.int8), toy.constant(np.ones(_CHANNELS)), weight_zeros,
            toy.constant(scale), zero, group=_CHANNELS if self.is_depthwise else 1,
        )  # fmt: skip
        result.type = ir.TensorType(_get_type(codes))
        (found,) = Session(toy.build(result), config).run({"x": codes}).values()
        # all codes that one output reads are alike but at the seam in the middle
        half = _SIZE // 2 - self.kernel + 1
        sums = weights.astype(np.int64).sum(axis=(1, 2, 3))
        limits = np.iinfo(self.activation)
        for columns, code in ((slice(0, half), limits.min), (slice(-half, None), limits.max)):
            exact = np.clip(np.rint((int(code) - middle) * sums / scale) + middle, limits.min, limits.max)
            if np.abs(found[0, :, :, columns].astype(np.int64) - exact[:, None, None]).max() > _MAX_CODE_ERROR:
                return False
        return True


def _get_type(codes: np.ndarray) -> ir.DataType:
    return ir.DataType.from_numpy(codes.dtype)


PRODUCT_CHECKS = [
    ProductCheck("linear, uint8 by int8", np.uint8, -127),
    ProductCheck("linear, uint8 by int8, with weights of -128", np.uint8, -128),
    ProductCheck("linear, uint8 by uint8", np.uint8, 0),
    ProductCheck("linear, int8 by int8", np.int8, -127),
    ProductCheck("linear, int8 by int8, with weights of -128", np.int8, -128),
    ProductCheck("Conv 1x1, uint8 by int8", np.uint8, -127, 1),
    ProductCheck("Conv 3x3, uint8 by int8", np.uint8, -127, 3),
    ProductCheck("Conv 3x3, uint8 by int8, with weights of -128", np.uint8, -128, 3),
    ProductCheck("Conv 3x3, int8 by int8", np.int8, -127, 3),
    ProductCheck("depthwise Conv 3x3, uint8 by int8", np.uint8, -127, 3, is_depthwise=True),
    ProductCheck("depthwise Conv 3x3, int8 by int8", np.int8, -127, 3, is_depthwise=True),
]


def check_products(config: SessionConfig | None = None) -> dict[str, bool]:
    """By description, whether the kernel is exact here; those that the runtime has not are left out."""
    found = {check.description: check.is_exact(config) for check in PRODUCT_CHECKS}
    return {description: is_exact for description, is_exact in found.items() if is_exact is not None}
