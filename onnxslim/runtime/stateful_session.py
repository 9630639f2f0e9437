"""A session that remembers: what some outputs gave is fed back into the next run of the same sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidModelError
from onnxslim.runtime.session import Session


class StatefulSession:
    """Runs the steps of sequences, one at a time and in their order, each with the state this model came to itself.

    Args:
        session: What runs.
        state: Output → the input it is fed back to; without any, this is the session alone.

    Raises:
        InvalidModelError: The model lacks such an output or input.
    """

    def __init__(self, session: Session, state: Mapping[str, str]) -> None:
        for output, input_name in state.items():
            if output not in session.outputs or input_name not in session.inputs:
                raise InvalidModelError(f"state {output}={input_name}: the model has no such output and input")
        self._session, self._feedback = session, dict(state)
        self._state: dict[str, np.ndarray] = {}
        self.outputs = session.outputs

    def run(
        self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None, *, continues: bool = False
    ) -> dict[str, Any]:
        """Run one step; with ``continues`` its state is that of the step before, else what ``feeds`` hold."""
        names = list(self.outputs if outputs is None else outputs)
        inputs = {**feeds, **self._state} if continues else feeds
        results = self._session.run(inputs, list(dict.fromkeys([*names, *self._feedback])))
        self._state = {input_name: results[output] for output, input_name in self._feedback.items()}
        return {name: results[name] for name in names}
