"""Decisions of an earlier run that options bring along: what this run would not repeat is refused, never passed over."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import onnx_ir as ir

from onnxslim.core.converter import suggest_names
from onnxslim.core.errors import InvalidDataError
from onnxslim.quantization.options import QuantizeOptions

#: What each way to quantise repeats, and each format of weights alone; other formats repeat the last entry.
_REPEATED: Mapping[str, frozenset[str]] = {
    "static": frozenset(("float_units", "loss_share", "large_weights", "calibration_samples", "corrected_layers")),
    "dynamic": frozenset(("float_units", "loss_share", "large_weights")),
    "float16": frozenset(),
}
_REPEATED_OF_WEIGHTS: Mapping[str, frozenset[str]] = {
    "mixed": frozenset(("weight_formats", "calibration_samples", "fitted_weights")),
    "int8": frozenset(("float_units", "loss_share", "block_layers", "corrected_layers")),
    "int8:qdq": frozenset(("float_units", "loss_share")),
    "": frozenset(("float_units",)),
}
_DECISIONS = frozenset[str]().union(*_REPEATED.values(), *_REPEATED_OF_WEIGHTS.values()) - {"weight_formats"}
#: Those that name layers.
_LAYERS = ("float_units", "block_layers", "large_weights")


def check_repeated(options: QuantizeOptions, scheme: str, *, only_qdq: bool = False) -> None:
    """Refuse decisions that ``options`` bring along and ``scheme`` does not repeat.

    Args:
        options: With what was left open decided.
        scheme: A key of :data:`~onnxslim.quantization.scheme_selection.SCHEMES`.
        only_qdq: The target takes weights from Q/DQ alone.

    Raises:
        InvalidDataError: Names the first of them.
    """
    if scheme == "weights":
        key = "int8:qdq" if only_qdq and options.weights == "int8" else options.weights or ""
        repeated, told = _REPEATED_OF_WEIGHTS.get(key, _REPEATED_OF_WEIGHTS[""]), f"--weights {options.weights}"
    else:
        repeated, told = _REPEATED[scheme], scheme if scheme == "float16" else f"{scheme} int8"
    for name in sorted(_DECISIONS - repeated):
        if getattr(options, name) not in (None, ()):
            raise InvalidDataError(
                f"quantize: {name}: a decision that {told} does not repeat",
                hint=f"it repeats {', '.join(sorted(repeated)) or 'none'}; without {name} it is decided anew",
            )
    if options.loss_share is not None and options.float_units is None:
        raise InvalidDataError("quantize: loss_share: a share of what is lost beside float_units, and there are none")


def check_layers(options: QuantizeOptions, model: ir.Model, others: Iterable[str] = ()) -> None:
    """Refuse decisions about layers that neither ``model`` nor ``others`` has.

    Raises:
        InvalidDataError: Names the first.
    """
    known = {*(node.name or "" for node in model.graph.all_nodes()), *others}
    for key in _LAYERS:
        check_names(key, getattr(options, key) or (), known, "layer")


def check_samples(options: QuantizeOptions, count: int) -> None:
    """Refuse ``calibration_samples`` beyond the ``count`` runs of samples that there are: ranges would be others.

    Raises:
        InvalidDataError: Says both numbers.
    """
    if (recorded := options.calibration_samples or 0) > count:
        raise InvalidDataError(
            f"quantize: calibration_samples: {recorded} are recorded and the data have {count}; the recipe is of other data",
            hint="give the data that it was made with; without calibration_samples all that there are count",
        )


def check_names(key: str, names: Iterable[str], known: Collection[str], noun: str) -> None:
    """Refuse a decision, ``key``, about a ``noun`` that is not ``known``.

    Raises:
        InvalidDataError: Names it.
    """
    for name in names:
        if name not in known:
            raise InvalidDataError(
                f"quantize: {key}: the model has no {noun} {name:.80}; the recipe is of another model",
                hint=suggest_names(name, known) if len(known) < 1000 else None,
            )
