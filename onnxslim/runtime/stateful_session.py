"""A session that remembers: what some outputs gave is fed back into the next run of the same sequence.

What judges outputs looks at tensors: of a sequence it sees the members, each under a name of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from onnxslim.core.errors import InvalidModelError
from onnxslim.core.state import advance_state


class NamedSession(Protocol):
    """What runs by name: a session here, or one elsewhere."""

    inputs: list[str]
    outputs: list[str]

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Run once; ``outputs`` (all by default) by name."""


class StatefulSession:
    """Runs the steps of sequences, one at a time and in their order, each with the state this model came to itself.

    Args:
        session: What runs.
        state: Output → the input it is fed back to; without any, this is the session alone.

    Attributes:
        outputs: Their names.
        members: The tensors that each output stood for in the runs so far, by its name: one entry for each way it came.

    Raises:
        InvalidModelError: The model lacks such an output or input.
    """

    def __init__(self, session: NamedSession, state: Mapping[str, str]) -> None:
        for output, input_name in state.items():
            if output not in session.outputs or input_name not in session.inputs:
                raise InvalidModelError(f"state {output}={input_name}: the model has no such output and input")
        self._session, self._feedback = session, dict(state)
        self._state: dict[str, np.ndarray] = {}
        self.outputs = session.outputs
        self.members: dict[str, list[tuple[str, ...]]] = {}

    def run(
        self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None, *, continues: bool = False
    ) -> dict[str, Any]:
        """Run one step; with ``continues`` its state is that of the step before, else what ``feeds`` hold.

        Returns:
            Tensors by name, members of sequences as ``name[0]``, ``name[1]``, …; maps and absent optionals are left out,
            unless there is nothing else.
        """
        names = list(self.outputs if outputs is None else outputs)
        inputs = {**feeds, **self._state} if continues else feeds
        results = self._session.run(inputs, list(dict.fromkeys([*names, *self._feedback])))
        self._state = advance_state(self._feedback, inputs, results)
        return self._get_tensors({name: results[name] for name in names})

    def _get_tensors(self, outputs: dict[str, Any]) -> dict[str, Any]:
        tensors: dict[str, Any] = {}
        for name, value in outputs.items():
            members = {name: value} if isinstance(value, np.ndarray) else _get_members(name, value)
            tensors |= members
            if tuple(members) not in (ways := self.members.setdefault(name, [])):
                ways.append(tuple(members))
        return tensors or outputs


def flatten_tensors(name: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    """What the output ``name`` holds, tensor by tensor: members of sequences by index, of maps by key."""
    if isinstance(value, dict):
        for key in value:
            yield from flatten_tensors(f"{name}[{key}]", value[key])
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from flatten_tensors(f"{name}[{index}]", member)
    elif value is not None:
        yield name, np.asarray(value)


def _get_members(name: str, value: Any) -> dict[str, np.ndarray]:
    """The tensors of a sequence; none of a map, whose keys come as they please, and of what is absent."""
    is_sequence = isinstance(value, list) and all(isinstance(member, np.ndarray) for member in value)
    return dict(flatten_tensors(name, value)) if is_sequence else {}
