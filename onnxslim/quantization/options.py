"""What a caller of the quantize step may choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnxslim.core.errors import UsageError
from onnxslim.core.quantities import Bytes

#: What may be asked for by ``activations``, ``linear``, ``placement`` and ``float_weights``; ``auto`` too of the first two.
ACTIVATION_MODES = ("static", "dynamic")
LINEAR_FORMATS = ("int8", "int4")
PLACEMENTS = ("measured", "static")
FLOAT_WEIGHTS = ("auto", "int8", "float16", "float32")


@dataclass(frozen=True)
class QuantizeOptions:
    """What a caller may choose.

    Attributes:
        target: A key of :data:`~onnxslim.quantization.targets.registry.TARGETS`; ``auto`` is what the session's provider
            runs on here.
        activations: ``static`` fixes ranges by calibration, ``dynamic`` takes them from each input (linear layers only),
            ``auto`` chooses by modelled cost (``ways.py``).
        weights: Weights only, activations float: ``int8`` (expanded at load, or in onnxruntime's MatMulNBits), ``int4`` (in
            MatMulNBits; either with ``:qdq`` in the standard's DequantizeLinear), ``codebook:K``, ``float16`` (made
            float32 again at load) or ``mixed``: a format for each weight; None quantises both.
        calibration: A key of :data:`~onnxslim.quantization.calibration.range_methods.RANGE_METHODS`, ``percentile`` and
            ``mse`` with a number behind a colon or not (``least`` takes for each tensor the one with the least error);
            ``auto`` tries several.
        linear: ``int4`` gives 4-bit weights to large linear layers that read each weight once an inference (``fewbits.py``);
            otherwise they are ``int8`` like all others.
        placement: ``measured`` decides on this machine which layers gain, ``static`` by a model of the target.
        exclude: Regular expressions; a node whose whole name matches stays float.
        float_units: The decision of an earlier run: these stay float, everything else that can becomes int8; where
            ``weights`` alone are, the layers that keep float ones.
        loss_share: Beside ``float_units``: what the outputs may lose, as a share of what they lose with these alone in
            float. What costs them most for what it gains goes back to float too.
        block_layers: The decision of an earlier run with ``weights="int8"``: these linear layers read their weights in
            blocks, all other weights are expanded when the model is loaded.
        max_size: With ``weights="mixed"``, bytes that the file may have; without, formats are chosen by what may be lost.
        weight_formats: The decision of an earlier run with ``weights="mixed"``: initializers by format; all that are not
            named have the one format that names none.
        float_weights: How the weights of layers that stay in float are stored: ``int8``, expanded when the model is loaded,
            ``float16``, expanded too, ``float32``, or ``auto``: int8 where the outputs bear it and the file is smaller for
            it, else float16. With float32 biases, norms and scales stay float32 too.
        large_weights: The decision of an earlier run: of the layers that stay in float those whose weights are not stored
            in int8, where those of others are.
        calibration_samples: The decision of an earlier run whose time was short: ranges come from the first so many samples;
            with ``weights="mixed"`` layers are fitted to so many runs.
        corrected_layers: The decision of an earlier run whose time was up: only so many layers, the first ones, are mended.
            With ``weights="int8"`` so many are rounded for the data, 0 for none, and nobody judges whether that helps.
        fitted_weights: The same with ``weights="mixed"``: only these weights are rounded for the data.
        min_sqnr: Decibels that every output must keep on calibration samples; layers go back to float until it does. Of
            weights in 4 bits, as codebooks or in float16, and of what computes in float16, none go back: they are refused
            below it. None asks for 20, or for nothing of these and where the caller judges a metric's drop, which says more.
        statistics: Files of calibration's statistics. The first is this run's: written, gone on from, refused where it is of
            another model or of other data. The others are read and added.
        max_memory: Bytes that the step should get by with: activations are watched in groups that keep below it.
    """

    target: str = "auto"
    activations: str = "auto"
    weights: str | None = None
    calibration: str = "auto"
    linear: str = "int8"
    placement: str = "measured"
    exclude: tuple[str, ...] = ()
    float_units: tuple[str, ...] | None = None
    loss_share: float | None = None
    block_layers: tuple[str, ...] | None = None
    max_size: Bytes | None = None
    weight_formats: Mapping[str, tuple[str, ...]] | None = None
    float_weights: str = "auto"
    large_weights: tuple[str, ...] = ()
    calibration_samples: int | None = None
    corrected_layers: int | None = None
    fitted_weights: tuple[str, ...] | None = None
    min_sqnr: float | None = None
    statistics: tuple[str, ...] = ()
    max_memory: Bytes | None = None

    def __post_init__(self) -> None:
        for name in ("exclude", "statistics"):
            if isinstance(pattern := getattr(self, name), str):
                object.__setattr__(self, name, (pattern,))
        for name, least in (("calibration_samples", 1), ("corrected_layers", 0)):
            if (count := getattr(self, name)) is not None and count < least:
                raise UsageError(f"quantize: {name} is {count}, expected at least {least}")
