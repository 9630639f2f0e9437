"""int8 that the runtime really runs: the quantize step."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.progress import Progress, silent
from onnxslim.quantize.compact import compact
from onnxslim.quantize.options import QuantizeOptions
from onnxslim.quantize.prepare import check_patterns, prepared
from onnxslim.quantize.ways import WAYS, resolved
from onnxslim.runtime.session import SessionConfig

__all__ = ["QuantizeOptions", "quantize"]


def quantize(
    model: io.ModelLike,
    samples: Samples | None,
    options: QuantizeOptions | None = None,
    *,
    config: SessionConfig | None = None,
    progress: Progress = silent,
) -> tuple[ir.Model, Account]:
    """``model`` in int8 (or with int8 weights, or in float16), the way ``options`` and the target ask for.

    Args:
        model: A float model, best simplified; it is not changed.
        samples: Calibration data; ``--weights`` and float16 can do without (None).
        options: See :class:`QuantizeOptions`.
        config: Where calibration and measurements run.
        progress: Told about every sample.

    Returns:
        The quantised model and the account; its details ``placement`` and ``way`` hold what was decided, for a recipe.

    Raises:
        UnsupportedError: Already quantised, or the target runs no static int8.
        UsageError: An unknown option, or an ``exclude`` that matches nothing.
        InvalidDataError: NaN or infinity in an activation.
    """
    options, config = options or QuantizeOptions(), config or SessionConfig()
    account = Account("quantize")
    with account.timed():
        work = prepared(io.load(model), account)
        check_patterns(work, options.exclude)
        way, options = resolved(work, samples, options, config, account)
        result = WAYS[way](work, samples, options, config, account, progress)
        compact(result)
    return result, account
