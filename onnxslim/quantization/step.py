"""int8 that the runtime really runs: the quantize step."""

from __future__ import annotations

from collections.abc import Callable, Collection

import onnx_ir as ir

from onnxslim.core.errors import NothingGainedError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.core.step_report import StepReport
from onnxslim.data.samples import Samples
from onnxslim.graph import shapes
from onnxslim.graph.finite_weights import check_finite_weights
from onnxslim.graph.stored_weights.unpacking import pack_weights, unpack_weights
from onnxslim.graph.traversal import walk
from onnxslim.model_io import model_file
from onnxslim.quantization.context import DropOverLimit, QuantizeContext
from onnxslim.quantization.finishing import finish
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.prepare import EXPANDED_WEIGHTS_OPSET, PER_CHANNEL_OPSET, check_patterns, prepare_model
from onnxslim.quantization.qdq.compact_names import list_names
from onnxslim.quantization.recorded_decisions import check_repeated
from onnxslim.quantization.scheme_selection import SCHEMES, resolve_scheme
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.session import SessionConfig
from onnxslim.simplification.file_size import measure_bytes

__all__ = ["QuantizeOptions", "quantize"]

_RUNTIME_DOMAIN = "com.microsoft"


def quantize(
    model: model_file.ModelLike,
    samples: Samples | None,
    options: QuantizeOptions | None = None,
    *,
    config: SessionConfig | None = None,
    kept_inputs: Collection[str] = (),
    progress: Progress = ignore_progress,
    deadline: float | None = None,
    drop_over_limit: Callable[[ir.Model], DropOverLimit] | None = None,
) -> tuple[ir.Model, StepReport]:
    """``model`` in int8 (or with int8 weights, or in float16), the way ``options`` and the target ask for.

    Args:
        model: A float model, best simplified; not changed.
        samples: Calibration data; ``--weights`` and float16 can do without (None).
        options: See :class:`QuantizeOptions`.
        config: Where calibration and measurements run.
        kept_inputs: Inputs that stay inputs although initializers of these names are their defaults, beside those that
            ``samples`` feed; others of the kind become constants.
        progress: Told about every sample.
        deadline: On ``time.monotonic``'s clock: what is not corrected or chosen by then is left as it is, and said.
        drop_over_limit: Judges results; see :class:`~onnxslim.quantization.context.QuantizeContext`.

    Returns:
        The quantised model and the report, with its :class:`~onnxslim.quantization.decision.QuantizeDecision`.

    Raises:
        UnsupportedError: Already quantised, or the target runs no static int8.
        UsageError: An unknown option, or an ``exclude`` that matches nothing.
        InvalidModelError: A weight is NaN or infinite.
        InvalidDataError: NaN or infinity in an activation; or a decision of an earlier run that this one does not repeat, or
            of another model.
    """
    options = options or QuantizeOptions()
    context = QuantizeContext(samples, config or SessionConfig(), progress, deadline, drop_over_limit)
    report = StepReport("quantize")
    with report.timed():
        loaded = model_file.load(model)
        report.warnings += context.freeze_inputs(loaded, kept_inputs)
        dim_names = shapes.list_known(loaded).dim_names
        stored = unpack_weights(loaded, expanded=True)
        min_opset = PER_CHANNEL_OPSET if options.weights is None else EXPANDED_WEIGHTS_OPSET
        float_model, warnings = prepare_model(loaded, min_opset)
        report.warnings += warnings
        check_patterns(float_model, options.exclude)
        scheme, options = resolve_scheme(float_model, context, options, report)
        if scheme != "float16":
            report.warnings += check_finite_weights(float_model)
        no_contrib_ops_reason = TARGETS[options.target].no_contrib_ops_reason
        check_repeated(options, scheme, only_qdq=no_contrib_ops_reason is not None)
        if no_contrib_ops_reason is not None and (own_ops := _list_own_ops(float_model)):
            report.warnings.append(f"{no_contrib_ops_reason}, and the model came with {', '.join(own_ops)}, which stays")
        result, report.decision = SCHEMES[scheme](float_model, context, options, report)
        pack_weights(result, stored)
        report.add(finish(result, list_names(float_model), options, scheme))
        shapes.keep_dim_names(result, dim_names)
        if options.weights is not None:
            _check_smaller(model_file.load(model), result)
    return result, report


def _list_own_ops(model: ir.Model) -> list[str]:
    """The kinds of onnxruntime's own ops in ``model``, by domain and name."""
    own_nodes = (node for node in walk(model.graph) if node.domain.startswith(_RUNTIME_DOMAIN))
    return sorted({f"{node.domain}.{node.op_type}" for node in own_nodes})


def _check_smaller(original: ir.Model, result: ir.Model) -> None:
    """Refuse weights in fewer bits that take more bytes: the names and scales of small layers can weigh more than codes."""
    before, after = measure_bytes(original), measure_bytes(result)
    if after >= before:
        raise NothingGainedError(
            f"the file would have {after} bytes for {before}",
            hint="its weights are few, or stored in few bits",
        )
