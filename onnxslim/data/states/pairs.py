"""Which outputs of a model are fed back to which of its inputs, as their names tell: what ``--state auto`` carries.

Exporters call a state alike on both sides and add where it stands in time: ``past_key_values.0.key`` and
``present.0.key``, ``h`` and ``h_out``, ``state`` and ``stateN``, ``cache_in`` and ``cache_out``. So a name is read as its
words without those of direction, and what is left has to be the same; shapes and types have to go together as well.
Something in the names has to speak of a state, because ``audio_in`` and ``audio_out`` are none.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.core.errors import UsageError
from onnxslim.data.model_inputs import Dim, ModelInput, read_dims

#: In place of a pair: all that names tell. Pairs that are named beside it come first.
AUTO = "auto"
#: Pairs that a message names before it counts the rest.
_MAX_NAMED = 3

_WORD_PATTERN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
#: Words that say on which side of a step a state is; the first of these speak of a state by themselves.
_TIME_WORDS = frozenset(("past", "present", "prev", "previous", "next"))
_SIDE_WORDS = _TIME_WORDS | {"in", "out", "input", "output", "new", "old", "init", "initial", "n", "r", "updated", "current"}
_STATE_WORDS = frozenset(
    ("state", "hidden", "cell", "h", "c", "cache", "memory", "mem", "rnn", "lstm", "gru", "kv", "buffer", "buf", "context")
)
_SPELLINGS = {
    "hn": "h", "hx": "h", "ht": "h", "cn": "c", "cx": "c", "ct": "c", "cached": "cache", "inputs": "input",
    "outputs": "output", "keys": "key", "values": "value", "states": "state", "caches": "cache",
}  # fmt: skip


@dataclass(frozen=True)
class ModelOutput:
    """One output of a model: its name, its element type, and its shape, None when the model does not tell the rank."""

    name: str
    dtype: ir.DataType | None
    dims: tuple[Dim, ...] | None


def get_model_outputs(model: ir.Model) -> tuple[ModelOutput, ...]:
    """The outputs of ``model`` in graph order."""
    return tuple(ModelOutput(str(value.name), value.dtype, read_dims(value)) for value in model.graph.outputs)


def find_state_pairs(inputs: Sequence[ModelInput], outputs: Sequence[ModelOutput]) -> dict[str, str]:
    """Output → the input that it is fed back to, in the order of the inputs, as far as names and shapes tell.

    A name that could go with two is left out.
    """
    pairs: dict[str, str] = {}
    for drop_numbers in (False, True):
        open_inputs = [i for i in inputs if i.name not in pairs.values()]
        outputs_by_key = _group_by_key([o.name for o in outputs if o.name not in pairs], drop_numbers)
        inputs_by_key = _group_by_key([i.name for i in open_inputs], drop_numbers)
        shapes = {o.name: o for o in outputs}
        for model_input in open_inputs:
            key = _get_key(model_input.name, drop_numbers)
            output_names = outputs_by_key.get(key, [])
            if len(output_names) != 1 or len(inputs_by_key[key]) != 1 or not _is_state(model_input.name, output_names[0]):
                continue
            output = shapes[output_names[0]]
            if output.dtype == model_input.dtype and _have_one_rank(output.dims, model_input.dims):
                pairs[output.name] = model_input.name
    return {output: name for i in inputs for output, name in pairs.items() if name == i.name}


def find_candidates(model_input: ModelInput, outputs: Sequence[ModelOutput]) -> list[str]:
    """The outputs that could be fed back to ``model_input`` by their element types and shapes."""
    return [
        output.name
        for output in outputs
        if output.dtype == model_input.dtype and find_fixed_difference(output.dims, model_input.dims) is None
    ]


def find_fixed_difference(output_dims: tuple[Dim, ...] | None, input_dims: tuple[Dim, ...] | None) -> int | None:
    """The first axis that both sides fix at another size, or None; -1 where their ranks differ."""
    if output_dims is None or input_dims is None:
        return None
    if len(output_dims) != len(input_dims):
        return -1
    axes = enumerate(zip(output_dims, input_dims, strict=True))
    return next((i for i, (a, b) in axes if isinstance(a, int) and isinstance(b, int) and a != b), None)


def resolve_state(
    state: Mapping[str, str] | str, inputs: Sequence[ModelInput], outputs: Sequence[ModelOutput]
) -> dict[str, str]:
    """The pairs that ``state`` asks for: those it names, and with :data:`AUTO` those that names tell.

    Raises:
        UsageError: Names tell of none; the hint has the candidates.
    """
    named = {} if isinstance(state, str) else {output: name for output, name in state.items() if output != AUTO}
    if not isinstance(state, str) and AUTO not in state:
        return named
    rest_inputs = [i for i in inputs if i.name not in named.values()]
    found = find_state_pairs(rest_inputs, [o for o in outputs if o.name not in named])
    if not named and not found:
        raise UsageError(
            f"--state {AUTO}: no output is called like an input that it could be fed back to",
            hint=f"name the pairs with --state OUT=IN; by their shapes {describe_candidates(inputs, outputs)}",
        )
    return {**named, **found}


def describe_candidates(inputs: Sequence[ModelInput], outputs: Sequence[ModelOutput]) -> str:
    """By their shapes alone: ``OUT=IN or OUT=IN for 'IN'``, input by input."""
    by_input = {i.name: find_candidates(i, outputs) for i in inputs}
    lines = [
        " or ".join(f"{output}={name}" for output in names[:_MAX_NAMED]) + f" for '{name}'"
        for name, names in by_input.items()
        if names
    ]
    return ("these go together: " + ", ".join(lines[:_MAX_NAMED])) if lines else "none goes with any"


def describe_pairs(pairs: Mapping[str, str]) -> str:
    """``OUT=IN, OUT=IN and 6 more``."""
    texts = [f"{output}={name}" for output, name in pairs.items()]
    rest = len(texts) - _MAX_NAMED
    return ", ".join(texts[:_MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def split_state_words(name: str) -> list[str]:
    """The words of ``name`` in lower case, each in one spelling: ``new_cachedKey_0`` → new, cache, key, 0."""
    words = [word.lower() for word in _WORD_PATTERN.findall(name)]
    return [_SPELLINGS.get(word, word) for word in words]


def _get_key(name: str, drop_numbers: bool) -> tuple[str, ...]:
    """What ``name`` has in common with the other side's."""
    words = split_state_words(name)
    if words[:1] in (["past"], ["present"]) and words[1:3] == ["key", "value"]:
        words = words[:1] + words[3:]
    return tuple(w for w in words if w not in _SIDE_WORDS and not (drop_numbers and w.isdigit()))


def _is_state(*names: str) -> bool:
    words = {word for name in names for word in split_state_words(name)}
    return not words.isdisjoint(_STATE_WORDS | _TIME_WORDS)


def _group_by_key(names: Sequence[str], drop_numbers: bool) -> dict[tuple[str, ...], list[str]]:
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in names:
        groups[_get_key(name, drop_numbers)].append(name)
    return groups


def _have_one_rank(first: tuple[Dim, ...] | None, second: tuple[Dim, ...] | None) -> bool:
    return first is None or second is None or len(first) == len(second)
