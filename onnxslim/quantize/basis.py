"""What channels were evened out by: decided once on data, and repeatable by runs that see other data.

Statistics are taken on the equalised model, so those of two parts of the data add up only if both runs scaled the channels
alike. A basis travels with the statistics' file and makes the same model of the same original, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.quantize import calibrate
from onnxslim.quantize.equalize import equalize, streams
from onnxslim.quantize.feeds import Feeds
from onnxslim.quantize.fidelity import Yardstick
from onnxslim.quantize.placement import everything
from onnxslim.quantize.plan import make_plan, units
from onnxslim.quantize.targets import Target
from onnxslim.runtime.session import SessionConfig

#: Samples that channels are looked at on.
SAMPLES = 32
#: Relative squared output error (60 dB) up to which an equalised float model counts as the same.
EXACT = 1e-6


@dataclass(frozen=True, eq=False)
class Basis:
    """What :func:`~onnxslim.quantize.equalize.equalize` was told.

    Attributes:
        channels: By tensor name the largest magnitude and the mean square of each channel, float64 (C,) each.
        clips: Whether streams with a Clip were rescaled too.
    """

    channels: Mapping[str, tuple[np.ndarray, np.ndarray]]
    clips: bool = True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Basis) or self.clips != other.clips or self.channels.keys() != other.channels.keys():
            return False
        return all(np.array_equal(self.channels[name], other.channels[name]) for name in self.channels)

    __hash__ = None  # type: ignore[assignment]

    def equalised(self, model: ir.Model, account: Account) -> ir.Model:
        """A copy of ``model`` whose channels are evened out."""
        copy = io.clone(model)
        account.count("equalised streams", len(equalize(copy, self.channels, clips=self.clips)))
        return copy


def find(
    model: ir.Model, target: Target, feeds: Feeds, yardstick: Yardstick, config: SessionConfig, account: Account
) -> Basis:
    """What evens channels out as far as that stays exact on samples it was not fitted to.

    Args:
        model: The float model; not changed.
        target: What it is quantised for.
        feeds: The first :data:`SAMPLES` are looked at.
        yardstick: Holds the float model's outputs on others.
        config: Where to run.
        account: Told when a Clip would bite.
    """
    quantised = make_plan(found := units(model, target), everything(found)).tensors
    names = [name for stream in streams(model) for name in stream.tensors if name in quantised]
    basis = Basis(calibrate.channels(model, feeds[:SAMPLES], names, config) if names else {})
    copy = io.clone(model)
    error = yardstick.error(copy) if equalize(copy, basis.channels) else 0.0
    if error <= EXACT:
        return basis
    account.decline("equalisation behind Clip", f"it would bite on other samples (output error {error:.2g})")
    # without a Clip on the way every op between the layers is homogeneous, whatever the data
    return Basis(basis.channels, clips=False)
