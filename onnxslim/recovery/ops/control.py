"""Branches, loops, sequences and optional values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from onnxslim.core.errors import UnsupportedError
from onnxslim.recovery.ops.call import Call, OpFunction, to_ints


def if_(call: Call, condition: Tensor) -> tuple[Any, ...]:
    """The branch that the condition chooses in this run."""
    return tuple(call.run_subgraph("then_branch" if bool(condition) else "else_branch", []))


def loop(call: Call, trips: Tensor | None, condition: Tensor | None, *carried: Any) -> tuple[Any, ...]:
    """Run the loop's subgraph until the trip count or the condition ends it."""
    state = list(carried)
    stacks: list[list[Tensor]] = []
    go, step = condition is None or bool(condition), 0
    while go and (trips is None or step < int(trips)):
        results = call.run_subgraph("body", [torch.tensor(step), torch.tensor(go), *state])
        go, state = bool(results[0]), results[1 : 1 + len(state)]
        stacks = stacks or [[] for _ in results[1 + len(state) :]]
        for stack, value in zip(stacks, results[1 + len(state) :], strict=True):
            stack.append(value)
        step += 1
    if not stacks:
        stacks = [[] for _ in range(len(call.node.outputs) - len(state))]
    return (*state, *(torch.stack(stack) if stack else torch.zeros(0) for stack in stacks))


def scan(call: Call, *inputs: Any) -> tuple[Any, ...]:
    """Run the scan's subgraph over the slices of some inputs."""
    if call.version < 9:
        raise UnsupportedError(f"{call.name}: Scan before opset 9 had a batch axis")
    count = call.get("num_scan_inputs")
    state, sources = list(inputs[:-count]), inputs[-count:]
    axes = call.get("scan_input_axes") or [0] * count
    flips = call.get("scan_input_directions") or [0] * count
    slices = [
        list(reversed(s.unbind(a))) if back else list(s.unbind(a)) for s, a, back in zip(sources, axes, flips, strict=True)
    ]
    stacks: list[list[Tensor]] = [[] for _ in range(len(call.node.outputs) - len(state))]
    for step in range(len(slices[0])):
        results = call.run_subgraph("body", [*state, *(part[step] for part in slices)])
        state = results[: len(state)]
        for stack, value in zip(stacks, results[len(state) :], strict=True):
            stack.append(value)
    out_axes = call.get("scan_output_axes") or [0] * len(stacks)
    back = call.get("scan_output_directions") or [0] * len(stacks)
    stacked = [
        torch.stack(list(reversed(stack)) if flip else stack, axis)
        for stack, axis, flip in zip(stacks, out_axes, back, strict=True)
    ]
    return (*state, *stacked)


def sequence_insert(call: Call, sequence: list[Tensor], value: Tensor, place: Tensor | None = None) -> list[Tensor]:
    """The sequence with one more element, at the end by default."""
    at = len(sequence) if place is None else int(place)
    at = at + len(sequence) if at < 0 else at
    return [*sequence[:at], value, *sequence[at:]]


def sequence_erase(call: Call, sequence: list[Tensor], place: Tensor | None = None) -> list[Tensor]:
    """The sequence without one element, the last by default."""
    at = (len(sequence) - 1 if place is None else int(place)) % len(sequence)
    return [*sequence[:at], *sequence[at + 1 :]]


def sequence_map(call: Call, sequence: list[Tensor], *others: Any) -> tuple[list[Any], ...]:
    """Run the map's subgraph over every element."""
    results = [
        call.run_subgraph("body", [value, *(other[i] if isinstance(other, list) else other for other in others)])
        for i, value in enumerate(sequence)
    ]
    return tuple(list(column) for column in zip(*results, strict=True))


def concat_from_sequence(call: Call, sequence: list[Tensor]) -> Tensor:
    """All tensors of the sequence joined, along an old or a new axis."""
    join = torch.stack if call.get("new_axis", 0) else torch.cat
    return join(sequence, call.get("axis"))


def split_to_sequence(call: Call, x: Tensor, sizes: Tensor | None = None) -> list[Tensor]:
    """Cut into pieces of one length, or of given lengths."""
    axis = call.get("axis", 0)
    if sizes is not None:
        lengths = to_ints(sizes)
        return list(torch.split(x, lengths if sizes.dim() else lengths[0], axis))
    pieces = torch.split(x, 1, axis)
    return list(pieces) if call.get("keepdims", 1) else [piece.squeeze(axis) for piece in pieces]


OPS: dict[str, OpFunction] = {
    "ConcatFromSequence": concat_from_sequence,
    "If": if_,
    "Loop": loop,
    "Optional": lambda call, value=None: value,
    "OptionalGetElement": lambda call, value: value,
    "OptionalHasElement": lambda call, value=None: torch.tensor(value is not None),
    "Scan": scan,
    "SequenceAt": lambda call, sequence, place: sequence[int(place)],
    "SequenceConstruct": lambda call, *values: list(values),
    "SequenceEmpty": lambda call: [],
    "SequenceErase": sequence_erase,
    "SequenceInsert": sequence_insert,
    "SequenceLength": lambda call, sequence: torch.tensor(len(sequence)),
    "SequenceMap": sequence_map,
    "SplitToSequence": split_to_sequence,
}
