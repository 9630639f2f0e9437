"""Outputs that no user reads: what a model keeps for its own next step."""

from __future__ import annotations

from onnxslim.validation.output_kinds.kind import LENIENCY, OutputKind
from onnxslim.validation.output_kinds.name_hints import hints_at, is_cache_name, split_words
from onnxslim.validation.output_kinds.observation import ModelObservation, OutputObservation


def recognize_state(output: OutputObservation, model: ModelObservation) -> OutputKind | None:
    """What is fed back, or looks as if it were."""
    name = output.name
    if name in model.state:
        reason = f"it is fed back to {model.state[name]}: what it gets wrong shows in the outputs after it"
        return OutputKind((name,), "state", (), reason)
    others = any(other != name and other not in model.state and not is_cache_name(other) for other in model.outputs)
    if is_cache_name(name) and others:
        return OutputKind((name,), "cache", (), "a decoder keeps it for its next step: what it loses shows in the scores")
    source = _find_fed_input(output, model)
    if source is None or not output.is_float or not others:
        return None
    return OutputKind(
        (name,), "state", ("variance",), f"its name and shape are those of input {source}",
        beside=("deviation",), leniency=LENIENCY, alternative=f"--state {name}={source} feeds it back",
    )  # fmt: skip


def _find_fed_input(output: OutputObservation, model: ModelObservation) -> str | None:
    """The input that ``output`` is probably fed back to: of its shape and called alike."""
    words = set(split_words(output.name))
    for name, rows in model.inputs.items():
        alike = words & set(split_words(name)) or (hints_at(output.name, "states") and hints_at(name, "states"))
        if alike and rows.shape[1:] == output.shape and hints_at(output.name, "states"):
            return name
    return None
