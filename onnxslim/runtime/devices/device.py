"""The one seam between what measures and where it is measured.

Without a device everything is timed in this process. With one, :func:`~onnxslim.runtime.timing.interleave`, profiles by
node and the runtime's optimised graph come from there; nothing above ``runtime/`` knows the difference. Steps deep inside a
command ask for the device as they ask for workers, since no recipe depends on where it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:  # what runs on a device without onnx-ir imports this module
    import onnx_ir as ir

    from onnxslim.core.progress import Progress
    from onnxslim.runtime.node_profile import NodeTime
    from onnxslim.runtime.providers import Provider
    from onnxslim.runtime.session_config import SessionConfig
    from onnxslim.runtime.timing import Timing

#: Inputs of one inference, by name.
Feed = Mapping[str, np.ndarray]


class TimedSession(Protocol):
    """A session here or on a device.

    Attributes:
        config: How it runs.
        provider: Where, as the runtime calls it.
        inputs: Their names.
        outputs: Their names.
        create_seconds: What its creation took where it runs, the runtime's optimisation included.
    """

    config: SessionConfig
    provider: Provider
    inputs: list[str]
    outputs: list[str]
    create_seconds: float

    def run(self, feeds: Feed, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Run once; ``outputs`` (all by default) by name."""
        ...

    def time_run(self, feeds: Feed) -> float:
        """Run once; the seconds it took where it ran."""
        ...


class Device(Protocol):
    """A machine on which models are timed.

    Attributes:
        name: For people.
        facts: ``onnxslim``, ``onnxruntime``, ``cpu``, ``flags``, ``system``, ``machine``, ``cores`` of it.
        deadline: Until when whoever asks has time, on ``time.monotonic``'s clock: much longer no answer is waited for.
    """

    name: str
    facts: Mapping[str, str]
    deadline: float | None

    def open_session(self, model: ir.Model, config: SessionConfig) -> TimedSession:
        """A session of ``model`` there."""
        ...

    def interleave(
        self, sessions: Mapping[str, TimedSession], feeds: Sequence[Feed], progress: Progress, **limits: Any
    ) -> Timing:
        """As :func:`onnxslim.runtime.timing.interleave`, with sessions that were opened there."""
        ...

    def count_inferences(self, session: TimedSession, feeds: Sequence[Feed], **limits: Any) -> np.ndarray:
        """As :func:`onnxslim.runtime.timing.count_inferences`."""
        ...

    def measure_node_times(
        self, model: ir.Model, feeds: Sequence[Feed], config: SessionConfig, **counts: int
    ) -> dict[str, NodeTime]:
        """As :func:`onnxslim.runtime.node_profile.measure_node_times`."""
        ...

    def optimize_graph(self, model: ir.Model, config: SessionConfig) -> bytes:
        """``model`` after the optimisation of the runtime there, as a file's content."""
        ...


_CURRENT: ContextVar[Device | None] = ContextVar("device", default=None)


def current_device() -> Device | None:
    """The device of the innermost :func:`use_device` block; None where models are timed in this process."""
    return _CURRENT.get()


@contextmanager
def use_device(device: Device | None) -> Iterator[None]:
    """Time models on ``device`` while the block runs."""
    token = _CURRENT.set(device)
    try:
        yield
    finally:
        _CURRENT.reset(token)
