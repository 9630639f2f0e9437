"""What a sequence starts from: zeros of the size that each state has before the first step.

Models leave dimensions of their states free: the batch, the length of a cache, or all that the exporter lost. A size comes
from ``--dim``, from the data (a dimension of the same name), from what the output that is fed back declares; what is still
open is taken to be 1 (of a past, 0), the model runs its first step, and what comes out corrects it: a size that comes back
the same way twice is the state's, one that goes on growing is that of a cache, which starts empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnxslim.core.errors import OnnxslimError, UnsupportedError
from onnxslim.data.columns import Array
from onnxslim.data.model_inputs import Dim, ModelInput
from onnxslim.data.states.feedback import StateFeedback


@dataclass(frozen=True)
class InitialState:
    """The state before the first step.

    Attributes:
        tensors: By input, as the model is fed with them.
        growing: Of states that are longer after each step (caches): the axes that grow, by input.
        notes: One line for each state with a size that nothing but a run told.
    """

    tensors: dict[str, Array]
    growing: dict[str, tuple[int, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Shape:
    """The shape that a state is tried with, and which axes of it are guessed."""

    sizes: tuple[int, ...]
    guessed: tuple[int, ...]


def find_initial_state(
    feedback: StateFeedback,
    inputs: Sequence[ModelInput],
    first_feeds: Mapping[str, Array],
    known_sizes: Mapping[str, int],
    *,
    free_size: int = 1,
) -> InitialState:
    """Zeros for the state ``inputs``, of sizes with which the model runs its first step.

    Args:
        feedback: The pairs, what their outputs declare, and what runs the original.
        inputs: The state inputs.
        first_feeds: The other inputs at the first step of a sequence.
        known_sizes: Sizes of free dimensions by symbol, or by ``INPUT.AXIS`` where they have no name.
        free_size: What a size is taken to be that nothing tells: 1, or 0 where states are caches.

    Raises:
        UnsupportedError: A state of unknown rank, or the first step runs with none of the sizes tried.
    """
    shapes = {i.name: _choose_shape(i, feedback, known_sizes, free_size) for i in inputs}
    outputs = {name: output for output, name in feedback.pairs.items()}

    def run(shapes: Mapping[str, _Shape]) -> dict[str, tuple[int, ...]]:
        """The shapes that come back, by input."""
        state = {i.name: np.zeros(shapes[i.name].sizes, i.dtype.numpy()) for i in inputs}
        results = feedback.run({**first_feeds, **state})
        return {name: np.shape(results[output]) for name, output in outputs.items()}

    growing: dict[str, tuple[int, ...]] = {}
    if any(shape.guessed for shape in shapes.values()) or any(_list_free_axes(i) for i in inputs):
        shapes, after = _find_runnable(shapes, run, inputs)
        changed = _adopt(shapes, after)
        if free_size and changed != shapes:
            # a step that gives the same size again has told it; one that gives more still is a cache's
            again = _try(changed, run) or after
            shapes = {n: changed[n] if again[n] == changed[n].sizes else shapes[n] for n in shapes}
        growing = {i.name: axes for i in inputs if (axes := _find_growing_axes(i, shapes[i.name].sizes, after[i.name]))}
        empty = {name: _shrink(shape, growing.get(name, ())) for name, shape in shapes.items()}
        if empty != shapes and _try(empty, run) is not None:
            shapes = empty
    notes = [
        _describe_guess(i, shapes[i.name])
        for i in inputs
        if set(shapes[i.name].guessed) - set(growing.get(i.name, ())) and i.dims is not None
    ]
    tensors = {i.name: np.zeros(shapes[i.name].sizes, i.dtype.numpy()) for i in inputs}
    return InitialState(tensors, growing, notes)


def bind_symbols(inputs: Sequence[ModelInput], feeds: Mapping[str, Array]) -> dict[str, int]:
    """The sizes that ``feeds`` give to the dimensions with a name."""
    return {
        dim: size
        for i in inputs
        if i.name in feeds and i.dims is not None
        for dim, size in zip(i.dims, np.shape(feeds[i.name]), strict=False)
        if isinstance(dim, str)
    }


def _choose_shape(
    model_input: ModelInput, feedback: StateFeedback, known_sizes: Mapping[str, int], free_size: int
) -> _Shape:
    if model_input.dims is None:
        raise UnsupportedError(
            f"--state: the rank of '{model_input.name}' is unknown, so its start is not known",
            hint="export the model with shapes, or give every step its state as data",
        )
    declared = feedback.get_output_dims(model_input.name)
    sizes, guessed = [], []
    for axis, dim in enumerate(model_input.dims):
        output_dim = declared[axis] if declared is not None and axis < len(declared) else None
        size = _find_size(model_input, axis, dim, known_sizes, output_dim)
        if size is None:
            guessed.append(axis)
            size = 0 if isinstance(dim, str) and "past" in dim else free_size
        sizes.append(size)
    return _Shape(tuple(sizes), tuple(guessed))


def _find_size(model_input: ModelInput, axis: int, dim: Dim, known_sizes: Mapping[str, int], output_dim: Dim) -> int | None:
    if isinstance(dim, int):
        return dim
    for key in (f"{model_input.name}.{axis}", dim or ""):
        if key in known_sizes:
            return known_sizes[key]
    if axis == model_input.axis:
        return 1  # sequences run one by one
    return output_dim if isinstance(output_dim, int) else None


def _list_free_axes(model_input: ModelInput) -> list[int]:
    dims = model_input.dims or ()
    return [axis for axis, dim in enumerate(dims) if not isinstance(dim, int) and axis != model_input.axis]


def _find_runnable(
    shapes: dict[str, _Shape], run: Any, inputs: Sequence[ModelInput]
) -> tuple[dict[str, _Shape], dict[str, tuple[int, ...]]]:
    """The guesses, or what is left of them to try, with which the model runs, and the shapes that come back."""
    try:
        return shapes, run(shapes)
    except OnnxslimError as error:
        reason = error
    for size in (0, 1):
        other = {name: replace(s, sizes=_set_sizes(s.sizes, s.guessed, size)) for name, s in shapes.items()}
        if other != shapes and (after := _try(other, run)) is not None:
            return other, after
    guessed = [(i, axis) for i in inputs for axis in shapes[i.name].guessed]
    if not guessed:
        raise reason
    model_input, axis = guessed[0]
    name = (model_input.dims or ())[axis] or f"{model_input.name}.{axis}"
    raise UnsupportedError(
        f"--state: axis {axis} of '{model_input.name}' {model_input} is free, and the model runs neither with 1 nor with 0 "
        f"there: {reason.message}",
        hint=f"give its size with --dim {name}=N",
    )


def _try(shapes: Mapping[str, _Shape], run: Any) -> dict[str, tuple[int, ...]] | None:
    try:
        result: dict[str, tuple[int, ...]] = run(shapes)
    except OnnxslimError:
        return None
    return result


def _adopt(shapes: Mapping[str, _Shape], after: Mapping[str, tuple[int, ...]]) -> dict[str, _Shape]:
    """``shapes`` with the sizes that came back along the axes that were guessed."""
    adopted = {}
    for name, shape in shapes.items():
        got, sizes = after[name], shape.sizes
        if len(got) == len(sizes):
            sizes = tuple(got[axis] if axis in shape.guessed else size for axis, size in enumerate(sizes))
        adopted[name] = replace(shape, sizes=sizes)
    return adopted


def _find_growing_axes(model_input: ModelInput, before: tuple[int, ...], after: tuple[int, ...]) -> tuple[int, ...]:
    if len(before) != len(after):
        return ()
    return tuple(axis for axis in _list_free_axes(model_input) if after[axis] > before[axis])


def _shrink(shape: _Shape, growing: tuple[int, ...]) -> _Shape:
    """What grows starts empty, where its size was a guess."""
    return replace(shape, sizes=_set_sizes(shape.sizes, [axis for axis in growing if axis in shape.guessed], 0))


def _set_sizes(sizes: tuple[int, ...], axes: Sequence[int], size: int) -> tuple[int, ...]:
    return tuple(size if axis in axes else old for axis, old in enumerate(sizes))


def _describe_guess(model_input: ModelInput, shape: _Shape) -> str:
    dims = model_input.dims or ()
    sizes = "x".join(map(str, shape.sizes))
    option = " ".join(f"--dim {dims[axis] or f'{model_input.name}.{axis}'}=N" for axis in shape.guessed)
    return f"state '{model_input.name}' {model_input} starts as zeros of {sizes}; {option} says otherwise"
