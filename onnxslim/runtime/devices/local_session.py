"""What every session of this process is: the runtime's own, run by name. Nothing here needs a library of models."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxslim.runtime.error_translation import translate_error
from onnxslim.runtime.providers import Provider
from onnxslim.runtime.session_config import SessionConfig, check_active


class LocalSession:
    """A :class:`~onnxslim.runtime.devices.device.TimedSession` over ``session``, which runs where it was asked to.

    Args:
        session: An ``onnxruntime.InferenceSession``.
        config: How it runs.
        provider: Where, as the runtime calls it.
        create_seconds: What its creation took.

    Raises:
        UnsupportedError: The runtime has fallen back to another provider.
    """

    def __init__(self, session: Any, config: SessionConfig, provider: Provider, create_seconds: float) -> None:
        check_active(provider, session.get_providers())
        self._session = session
        self.config, self.provider, self.create_seconds = config, provider, create_seconds
        self.inputs: list[str] = [i.name for i in session.get_inputs()]
        self.outputs: list[str] = [o.name for o in session.get_outputs()]

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Run once; ``outputs`` (all by default) by name."""
        names = list(self.outputs if outputs is None else outputs)
        try:
            return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
        except Exception as error:
            raise translate_error(error, "the runtime failed while running the model") from error

    def time_run(self, feeds: Mapping[str, np.ndarray]) -> float:
        """Run once; the seconds it took."""
        started = time.perf_counter()
        self.run(feeds)
        return time.perf_counter() - started

    def end_profiling(self) -> str:
        """Stop profiling and return the path of the trace."""
        return str(self._session.end_profiling())
