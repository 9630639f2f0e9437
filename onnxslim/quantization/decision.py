"""What a quantize step decided: what a recipe that repeats it needs, and what became of each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnxslim.quantization.evaluation.fusion_report import ExecutedLayer, SurvivingConversion


@dataclass(frozen=True)
class FrontPoint:
    """One placement that nothing beats in both time and loss, or of mixed weights one choice in bytes and loss; what repeats
    it are the options of :class:`~onnxslim.quantization.options.QuantizeOptions` that :attr:`placed` gives.

    Attributes:
        float_units: What stays in float although it could run in int8, sorted.
        loss: What the outputs are expected to lose: relative squared error, summed over outputs and parts of them.
        seconds: What an inference is expected to take, by the times that the placement was chosen by.
        excess: How many times what is allowed it was found to lose, with what is allowed for few samples; None where it was
            not tried or nobody judged.
        least_excess: The same, the least that few samples leave possible.
        weight_formats: With mixed weights, initializers by format; else None.
    """

    float_units: tuple[str, ...]
    loss: float
    seconds: float
    excess: float | None = None
    least_excess: float | None = None
    weight_formats: Mapping[str, tuple[str, ...]] | None = None

    @property
    def placed(self) -> dict[str, Any]:
        """The options that make it again."""
        if self.weight_formats is None:
            return {"float_units": self.float_units}
        return {"weight_formats": self.weight_formats}


@dataclass(frozen=True)
class QuantizeDecision:
    """The decisions of one quantize step.

    Attributes:
        scheme: A key of :data:`onnxslim.quantization.scheme_selection.SCHEMES`.
        target: A key of :data:`onnxslim.quantization.targets.registry.TARGETS`.
        calibration: How ranges were found; None where no activation has a fixed one.
        float_units: What stays in float although it could run in int8; None where nothing is placed.
        layers: The weighted layers as the runtime runs them; None where they stay float.
        surviving: Conversions that the runtime did not fuse.
        mixed_reason: How many ops went back to float for a gate, and why; None where none did.
        float_weights: How the weights of what stays in float are stored, ``int8``, ``float16`` or ``float32``; None where
            nothing chose.
        large_weights: The layers in float whose weights are not stored in int8, where those of others are.
        front: The placements to choose among, from the fastest to the mildest, of mixed weights from the smallest; empty
            where none was looked for.
        front_index: Which of them was chosen; None without a front.
        calibration_samples: From how many samples ranges come, where there was no time for all; else None.
        corrected_layers: How many layers, the first ones, were mended before the time was up; None where all that could be.
            With weights only in int8, how many were rounded for the data.
        fitted_weights: With mixed weights, those that were rounded for the data before the time was up; None where all were.
        weight_formats: With mixed weights, initializers by format; of the most common one none, which is all others.
        block_layers: With weights only in int8, the linear layers that read them in blocks; None where nothing was chosen.
    """

    scheme: str
    target: str
    calibration: str | None = None
    float_units: tuple[str, ...] | None = None
    layers: Sequence[ExecutedLayer] | None = None
    surviving: Sequence[SurvivingConversion] = ()
    mixed_reason: str | None = None
    float_weights: str | None = None
    large_weights: tuple[str, ...] = ()
    front: tuple[FrontPoint, ...] = ()
    front_index: int | None = None
    block_layers: tuple[str, ...] | None = None
    weight_formats: Mapping[str, tuple[str, ...]] | None = None
    calibration_samples: int | None = None
    corrected_layers: int | None = None
    fitted_weights: tuple[str, ...] | None = None
