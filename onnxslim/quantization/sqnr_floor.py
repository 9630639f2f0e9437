"""What an output must keep of its signal where nobody judges it by a metric: decibels of SQNR on calibration samples."""

from __future__ import annotations

from collections.abc import Mapping

from onnxslim.activations.output_error import to_decibels
from onnxslim.activations.run_context import DATA_HINT
from onnxslim.core.errors import GateError, UsageError
from onnxslim.data.samples import Samples
from onnxslim.quantization.options import QuantizeOptions

#: Decibels that every output keeps when nobody says: what is left is a tenth of the signal's amplitude.
DEFAULT_MIN_SQNR_DB = 20.0


def get_max_error(options: QuantizeOptions) -> float:
    """The relative squared error that an output may have."""
    return float(10 ** (-get_min_sqnr_db(options) / 10))


def get_min_sqnr_db(options: QuantizeOptions) -> float:
    """Decibels of SQNR that every output is to keep."""
    return DEFAULT_MIN_SQNR_DB if options.min_sqnr is None else options.min_sqnr


def build_sqnr_error(
    output_errors: Mapping[str, float],
    options: QuantizeOptions,
    *,
    form: str = "int8",
    tried: str = "whichever layers that gain by it stay float",
    instead: str = "more calibration samples help",
) -> GateError:
    """What to raise when no placement is good enough.

    Args:
        output_errors: By output its relative squared error, of the best that was built.
        options: Say what was asked for.
        form: What was made of the model.
        tried: What else was tried in vain.
        instead: What may help beside asking for less.
    """
    worst = max(output_errors, key=output_errors.__getitem__)
    sqnr_db = -to_decibels(output_errors[worst])
    return GateError(
        f"{form} leaves output {worst} at {sqnr_db:.1f} dB of SQNR on calibration samples, {tried}; "
        f"{get_min_sqnr_db(options):g} are asked for",
        hint=f"--min-sqnr accepts less; --eval-data with --max-drop judges by your own metric; {instead}",
    )


def is_sqnr_asked(options: QuantizeOptions, samples: Samples | None) -> bool:
    """Whether decibels are asked for, which ``samples`` have to show.

    Raises:
        UsageError: They are, and there are no data.
    """
    if options.min_sqnr is not None and samples is None:
        raise UsageError(f"min_sqnr {options.min_sqnr:g}: what outputs keep is measured on data", hint=DATA_HINT)
    return options.min_sqnr is not None


def check_sqnr(output_errors: Mapping[str, float], options: QuantizeOptions, *, form: str, instead: str) -> None:
    """Refuse what keeps less than ``min_sqnr`` asks for and has no layer to take back to float for it.

    Args:
        output_errors: By output its relative squared error.
        options: Say what was asked for.
        form: What was made of the model.
        instead: What may keep more.

    Raises:
        GateError: Names the worst output and what it keeps.
    """
    if not max(output_errors.values(), default=0.0) <= get_max_error(options):
        raise build_sqnr_error(
            output_errors, options, form=form, tried="with no layer to take back to float", instead=instead
        )
