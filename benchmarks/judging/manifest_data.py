"""Samples of a manifest's ``.npz`` as onnxruntime is fed them, read without a line of what is judged.

Arrays are inputs by name, ``labels`` aside; the first axis is the sample, and in a model with state the second is the step.
Samples of different shapes lie end to end in an array of one axis beside ``NAME.shapes``, integers (samples, rank).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np

#: In place of ``OUT=IN``: whatever input the data have not is fed from the output that looks like it.
AUTO = "auto"
Feed = dict[str, np.ndarray]
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


def parse_states(entries: Sequence[str], session: Any, data: Path) -> dict[str, str]:
    """Output by input of the values of ``--state``, each ``OUT=IN``; ``auto`` adds all inputs that ``data`` have not.

    Those go with the outputs of their type and shape whose names are most alike, each with another one.

    Raises:
        ValueError: One of them goes with no output.
    """
    states = {given: output for output, given in (entry.split("=", 1) for entry in entries if entry != AUTO)}
    if AUTO not in entries:
        return states
    with np.load(data, allow_pickle=False) as file:
        missing = [one for one in session.get_inputs() if one.name not in states and one.name not in file.files]
    ratios = [
        (SequenceMatcher(None, given.name, output.name).ratio(), given.name, output.name)
        for given in missing
        for output in session.get_outputs()
        if output.name not in states.values() and _can_be_fed_back(output, given)
    ]
    for _, given, output in sorted(ratios, key=lambda each: each[0], reverse=True):
        if given not in states and output not in states.values():
            states[given] = output
    if open_inputs := [one.name for one in missing if one.name not in states]:
        raise ValueError(f"--state {AUTO}: {', '.join(open_inputs)} of {data.name} go with no output; name them OUT=IN")
    return states


def _can_be_fed_back(output: Any, given: Any) -> bool:
    sizes = zip(output.shape, given.shape, strict=False)
    fits = all(a == b for a, b in sizes if isinstance(a, int) and isinstance(b, int))
    return output.type == given.type and len(output.shape) == len(given.shape) and fits


class ManifestData:
    """The samples of one file, for the inputs of one model.

    Args:
        path: The ``.npz``.
        inputs: The model's inputs, as ``InferenceSession.get_inputs()`` lists them.
        states: Output by input of what the model is handed back in the next step.
    """

    def __init__(self, path: str | Path, inputs: Sequence[Any], states: Mapping[str, str] | None = None) -> None:
        self.inputs = {given.name: given for given in inputs}
        self.states = dict(states or {})
        with np.load(path, allow_pickle=False) as file:
            held = {key: file[key] for key in file.files}
        self.labels = held.pop("labels", None)
        free = [name for name in self.inputs if name not in self.states]
        if len(free) == 1 and free[0] not in held:  # one array alone may have any name
            held[free[0]] = held.pop(next(key for key in held if not key.endswith(".shapes")))
        self._arrays = {name: held[name] for name in free if name in held}
        self._shapes = {name: held[f"{name}.shapes"] for name in free if f"{name}.shapes" in held}
        self._ends = {name: np.cumsum(np.prod(shapes, axis=1)) for name, shapes in self._shapes.items()}

    def __len__(self) -> int:
        """Samples; in a model with state, sequences."""
        return min(len(self._shapes.get(name, rows)) for name, rows in self._arrays.items())

    def feeds(self, index: int) -> Iterator[Feed]:
        """What sample ``index`` gives the model, one feed a step, without its state."""
        if not self.states:
            yield {name: self._fit(name, self._row(name, index)) for name in self._arrays}
            return
        for step in range(next(iter(self._arrays.values())).shape[1]):
            yield {name: self._fit(name, rows[index, step]) for name, rows in self._arrays.items()}

    def first_state(self) -> Feed:
        """The zeros that a sequence begins with."""
        return {name: self._zeros(name) for name in self.states}

    def _row(self, name: str, index: int) -> np.ndarray:
        rows = self._arrays[name]
        if name in self._shapes:
            end, shape = int(self._ends[name][index]), self._shapes[name][index]
            return rows[end - int(np.prod(shape)) : end].reshape(shape)
        return rows[index : index + 1] if rows.ndim == len(self.inputs[name].shape) else rows[index]

    def _fit(self, name: str, values: Any) -> np.ndarray:
        """Of the input's type and rank: leading axes of one are added, and dropped."""
        array, rank = np.asarray(values).astype(_DTYPES[self.inputs[name].type]), len(self.inputs[name].shape)
        while array.ndim > rank and array.shape[0] == 1:
            array = array[0]
        return array.reshape((1,) * (rank - array.ndim) + array.shape)

    def _zeros(self, name: str) -> np.ndarray:
        given = self.inputs[name]
        return np.zeros([size if isinstance(size, int) else 1 for size in given.shape], _DTYPES[given.type])


def walk(session: Any, data: ManifestData, index: int) -> Iterator[tuple[Feed, dict[str, Any]]]:
    """Feed and outputs by name of every step of one sample, the state handed on where there is one."""
    names, state = [output.name for output in session.get_outputs()], data.first_state()
    for feed in data.feeds(index):
        whole = feed | state
        found = dict(zip(names, session.run(None, whole), strict=True))
        state = {given: found[output] for given, output in data.states.items()}
        yield whole, found
