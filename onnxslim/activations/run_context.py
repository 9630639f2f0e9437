"""What models are run with while they are compressed: the samples, the place, the time, and who is told how far it is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxslim.core.deadline import Pacer, seconds_left
from onnxslim.core.errors import UsageError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.data.samples import Samples
from onnxslim.graph.signature import describe_frozen_inputs, freeze_initializer_inputs
from onnxslim.runtime.session import SessionConfig

DATA_HINT = "give --data: an .npz of inputs by name, a folder of images with --preprocess, or the word random to try it out"


@dataclass(frozen=True)
class RunContext:
    """What travels beside the model through a step.

    Attributes:
        samples: The *fit* data, or None.
        config: Where things run.
        progress: Told how far it is.
        deadline: On ``time.monotonic``'s clock; a step ends there with what it has. None where no clock may decide anything.
    """

    samples: Samples | None = None
    config: SessionConfig = field(default_factory=SessionConfig)
    progress: Progress = ignore_progress
    deadline: float | None = None

    def require_samples(self, step: str) -> Samples:
        """The fit data, which ``step`` cannot do without."""
        if self.samples is None:
            raise UsageError(f"{step} needs data", hint=DATA_HINT)
        return self.samples

    def freeze_inputs(self, model: ir.Model, kept_inputs: Collection[str]) -> list[str]:
        """Make constants, in place, of the initializers that are inputs too, but for those that the samples feed or that are
        to be kept; a line that says so, or none.
        """
        fed = () if self.samples is None else self.samples.input_names
        return describe_frozen_inputs(freeze_initializer_inputs(model, {*kept_inputs, *fed}))

    def pace(self, reserve: float = 0.0, share: float = 1.0) -> Pacer:
        """What tells before each part of a work whether it fits: into ``share`` of the time left, and ``reserve`` seconds
        before the deadline.
        """
        if self.deadline is not None:
            reserve = max(reserve, (1 - share) * seconds_left(self.deadline))
        return Pacer(self.deadline, reserve=reserve)
