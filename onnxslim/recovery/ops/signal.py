"""Fourier transforms and windows, as audio models hold them in front."""

from __future__ import annotations

import math

import onnx_ir as ir
import torch
from torch import Tensor

from onnxslim.recovery.ops.call import Call, OpFunction
from onnxslim.recovery.tensor_conversion import to_torch_dtype


def dft(call: Call, x: Tensor, length: Tensor | None = None, axis: Tensor | None = None) -> Tensor:
    """Discrete Fourier transform of real (last axis 1) or complex (2) numbers along an axis."""
    along = call.get("axis", 1) if call.version < 20 else (-2 if axis is None else int(axis))
    along = along % x.dim() if along >= 0 else along + x.dim()
    size = x.shape[along] if length is None else int(length)
    inverse, onesided = bool(call.get("inverse", 0)), bool(call.get("onesided", 0))
    if inverse and onesided:
        spectrum = torch.view_as_complex(x.contiguous())
        size = 2 * (x.shape[along] - 1) if length is None else int(length)
        return torch.fft.irfft(spectrum, size, along).unsqueeze(-1)
    z = x.squeeze(-1) if x.shape[-1] == 1 else torch.view_as_complex(x.contiguous())
    if inverse:
        y = torch.fft.ifft(z, size, along)
    elif onesided:
        y = torch.fft.rfft(z, size, along) if not z.is_complex() else torch.fft.fft(z, size, along)
        y = y.narrow(along, 0, size // 2 + 1)
    else:
        y = torch.fft.fft(z, size, along)
    return torch.view_as_real(y)


def stft(call: Call, x: Tensor, hop: Tensor, window: Tensor | None = None, length: Tensor | None = None) -> Tensor:
    """Fourier transforms of windows that slide over a signal."""
    width = int(length) if length is not None else len(window) if window is not None else x.shape[1]
    signal = x.squeeze(-1) if x.dim() == 3 and x.shape[-1] == 1 else x
    if signal.dim() == 3:
        signal = torch.view_as_complex(signal.contiguous())
    frames = signal.unfold(1, width, int(hop))
    if window is not None:
        frames = frames * window
    onesided = call.get("onesided", 1) and not frames.is_complex()
    y = torch.fft.rfft(frames) if onesided else torch.fft.fft(frames)
    return torch.view_as_real(y)


def _make_cosine_window(*coefficients: float) -> OpFunction:
    """A sum of cosines."""

    def run(call: Call, size: Tensor) -> Tensor:
        n = int(size)
        span = n if call.get("periodic", 1) else n - 1
        turn = 2 * math.pi * torch.arange(n, dtype=torch.float64) / max(span, 1)
        terms = [(-1) ** i * c * torch.cos(i * turn) for i, c in enumerate(coefficients)]
        dtype = ir.DataType(call.get("output_datatype", ir.DataType.FLOAT.value))
        return torch.stack(terms).sum(0).to(to_torch_dtype(dtype, call.name))

    return run


OPS: dict[str, OpFunction] = {
    "BlackmanWindow": _make_cosine_window(0.42, 0.5, 0.08),
    "DFT": dft,
    "HammingWindow": _make_cosine_window(25 / 46, 21 / 46),
    "HannWindow": _make_cosine_window(0.5, 0.5),
    "STFT": stft,
}
