"""What models are run with while they are compressed: the samples, the place, the time, and who is told how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from onnxslim.core.deadline import Pacer
from onnxslim.core.errors import UsageError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.data.samples import Samples
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

    def pace(self, reserve: float = 0.0) -> Pacer:
        """What tells before each part of a work whether it fits, ``reserve`` seconds kept for what comes after it."""
        return Pacer(self.deadline, reserve=reserve)
