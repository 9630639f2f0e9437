"""Exact rewrites: the same function in fewer nodes, never in a larger file."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.core.converter import suggest_names
from onnxslim.core.errors import UsageError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.core.quantities import Bytes
from onnxslim.core.step_report import Skipped, StepReport
from onnxslim.graph.signature import describe_frozen_inputs, freeze_initializer_inputs
from onnxslim.graph.traversal import walk
from onnxslim.model_io import model_file
from onnxslim.model_io.model_file import ModelLike
from onnxslim.simplification import file_size, prepare_finish
from onnxslim.simplification.constant_folding import fold_constants
from onnxslim.simplification.deduplication import COMPUTED_ONCE, merge_initializers, merge_nodes
from onnxslim.simplification.editor import BoundedEditor, LeftOut
from onnxslim.simplification.fixpoint import apply_rules
from onnxslim.simplification.idle_channels import IDLE_CHANNELS, SimplifyDecision, remove_idle_channels
from onnxslim.simplification.rounding_check import get_tolerance, measure_difference
from onnxslim.simplification.rule import MatchContext, Rule
from onnxslim.simplification.rule_table import RULES
from onnxslim.simplification.symbolic_shapes.inference import KnownIntegers, propagate_integers

#: The result may be this much larger than the input, no more.
MAX_GROWTH = 1.02

#: Folding feeds rules and rules feed folding; real models are done after four or five rounds.
MAX_ROUNDS = 30


@dataclass(frozen=True)
class SimplifyOptions:
    """Options of :func:`simplify`.

    Attributes:
        max_fold_bytes: How many bytes folding constants may add to the file; None is 2 % of its size.
        skip: Names of rules (:data:`onnxslim.simplification.rule_table.RULES`) that are left out; ``idle-channels`` leaves
            channels that no output depends on.
        leave_out: Single rewrites that are not done, by rule and node as ``pads at conv1``; a search fills it in where it
            times the exact steps and finds them slower.
    """

    max_fold_bytes: Bytes | None = None
    skip: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [*(rule.name for rule in RULES), IDLE_CHANNELS]
        left_out = [rewrite.partition(" at ")[0] for rewrite in self.leave_out]
        for name in (*self.skip, *(name for name in left_out if name != COMPUTED_ONCE)):
            if name not in names:
                raise UsageError(f"simplify: no rule {name}", hint=suggest_names(name, names))


def simplify(
    model: ModelLike,
    options: SimplifyOptions = SimplifyOptions(),
    *,
    kept_inputs: Collection[str] = (),
    progress: Progress = ignore_progress,
) -> tuple[ir.Model, StepReport]:
    """Rewrite ``model`` to fewer nodes that compute the same to float rounding.

    Names of inputs, outputs and dimensions, metadata, opset and IR version are kept; initializers that are listed as
    inputs too become constants, see ``kept_inputs``. Running it on its own result
    changes nothing, and the same input gives the same bytes.

    Args:
        model: A path, bytes, ModelProto or ``onnx_ir.Model``; it is not changed.
        options: See :class:`SimplifyOptions`.
        kept_inputs: Inputs that stay inputs although initializers of these names are their defaults; others of the kind
            become constants.
        progress: Called as ``progress("simplify", round, 0)``.

    Returns:
        The new model and the report: counts by rule, and what was skipped with the reason.

    Raises:
        UsageError: The file does not exist.
        InvalidModelError: Not a valid model.
    """
    report = StepReport("simplify")
    with report.timed():
        result, simplified = _simplify_within_bounds(model, options, kept_inputs, progress)
    simplified.seconds = report.seconds
    return result, simplified


def _simplify_within_bounds(
    source: ModelLike, options: SimplifyOptions, kept_inputs: Collection[str], progress: Progress
) -> tuple[ir.Model, StepReport]:
    """Simplify, and look at the size of what came out: it may not have grown past the limit."""
    model = model_file.load(source)
    frozen_inputs = freeze_initializer_inputs(model, kept_inputs)
    if frozen_inputs:
        source = model_file.clone(model)
    before = file_size.estimate_bytes(model)
    allowance = before * (MAX_GROWTH - 1) if options.max_fold_bytes is None else options.max_fold_bytes
    model, report = _simplify(model, options, allowance, before, progress)
    max_bytes = before * MAX_GROWTH + (options.max_fold_bytes or 0)
    if report.changed and file_size.estimate_bytes(model) + file_size.estimate_uncertainty(model) > max_bytes:
        limit = file_size.measure_bytes(model_file.load(source)) * MAX_GROWTH + (options.max_fold_bytes or 0)
        if file_size.measure_bytes(model) > limit:
            model, report = _simplify(model_file.load(source), options, 0, before, progress)
        if file_size.measure_bytes(model) > limit:
            model, report = model_file.load(source), StepReport("simplify")
            report.skip(model.graph.name or "model", "the simplified file would be larger")
    report.warnings += describe_frozen_inputs(frozen_inputs)
    return model, report


def _simplify(
    model: ir.Model, options: SimplifyOptions, allowance: float, nbytes: int, progress: Progress
) -> tuple[ir.Model, StepReport]:
    """Rewrite ``model``, of about ``nbytes``: by the rules that keep every bit, then by those that round differently.

    The form in between is kept, and is what counts when the final one differs from it by more than rounding should.
    """
    report = StepReport("simplify")
    report.decision = SimplifyDecision()
    rules, left_out = [rule for rule in RULES if rule.name not in options.skip], LeftOut(options.leave_out)
    exact, reduction = [rule for rule in rules if not rule.rounds], f"{IDLE_CHANNELS} at {model.graph.name or 'model'}"
    may_reduce = IDLE_CHANNELS not in options.skip and not left_out.includes(reduction)
    nodes = prepare_finish.count_nodes(model)
    types = prepare_finish.prepare(model, report)
    editor = BoundedEditor(model.graph, allowance, left_out)
    report.count("unread", editor.remove_all_unread())
    early_skipped = list(report.skipped)
    prepare_finish.reinfer_shapes(model)
    settled_integers: KnownIntegers | None = _run_to_fixpoint(model, editor, exact, report, progress, merge=False)

    refusal = None
    rounding = [rule for rule in rules if rule.rounds]
    if any(node.op_type in rule.root_ops for node in walk(model.graph) for rule in rounding):
        exact_model, trial_report, settled_integers = model_file.clone(model), StepReport("simplify"), None
        exact_rewrites = list(editor.rewrites)
        _run_to_fixpoint(model, editor, rules, trial_report, progress, merge=True)
        if any(rule.name in trial_report.changed for rule in rounding):
            gap = measure_difference(exact_model, model, nbytes)
            if gap is None:
                report.details["rounding"] = "not measured: the model is large, or does not run on random inputs"
            elif gap > get_tolerance(exact_model):
                refusal = f"a random input changes an output by {gap:.1e} of its maximum when rounded differently"
        if refusal is None:
            for name, times in trial_report.changed.items():
                report.count(name, int(times))
            report.skipped = trial_report.skipped
        else:
            model, editor = exact_model, BoundedEditor(exact_model.graph, allowance, left_out, exact_rewrites)
    allowed_rules = exact if refusal else rules
    _run_to_fixpoint(model, editor, allowed_rules, report, progress, merge=True, settled_integers=settled_integers)
    if refusal:
        early_skipped.append(Skipped(model.graph.name or "model", f"{', '.join(rule.name for rule in rounding)}: {refusal}"))
    elif may_reduce and (reduced := remove_idle_channels(model, nbytes, report)) is not model:
        model, editor = reduced, BoundedEditor(reduced.graph, editor.allowance, left_out, [*editor.rewrites, reduction])
        prepare_finish.reinfer_shapes(model)
        _run_to_fixpoint(model, editor, allowed_rules, report, progress, merge=True)
    report.decision = dataclasses.replace(report.decision, rewrites=tuple(editor.rewrites))
    prepare_finish.finish(model, types)
    report.skipped = list(dict.fromkeys([*early_skipped, *report.skipped]))
    if left_out.met:
        met = (name for name in left_out.names if name in left_out.met)
        report.warnings.append(f"exact rewrites left out, slower where they were timed: {', '.join(met)}")
    if unmet := [name for name in left_out.names if name not in left_out.met]:
        report.warnings.append(f"leave_out: {', '.join(unmet)}: nothing of this model, so that nothing was left out by it")
    report.details["nodes"] = {"before": nodes, "after": prepare_finish.count_nodes(model)}
    return model, report


def _run_to_fixpoint(
    model: ir.Model,
    editor: BoundedEditor,
    rules: Sequence[Rule],
    report: StepReport,
    progress: Progress,
    *,
    merge: bool,
    settled_integers: KnownIntegers | None = None,
) -> KnownIntegers:
    """Rewrite, fold and (with ``merge``) compute once what is computed twice, in place, until nothing changes.

    Merging waits until nothing else is left to do: a Conv that two nodes read cannot take in the BatchNormalization
    of either. ``settled_integers`` is what the same rules ended with on this very model: merging is then the next to do.

    Returns:
        What is known of integers at the end.
    """
    known: KnownIntegers = {}
    for number in range(MAX_ROUNDS):
        progress("simplify", number, 0)
        changed = 0
        if number or settled_integers is None:
            report.skipped.clear()
            if number and not prepare_finish.has_final_shapes(model):
                prepare_finish.reinfer_shapes(model)
            known = propagate_integers(model)
            changed += apply_rules(editor, rules, MatchContext(model.opset_imports.get("", 1), known), report)
            changed += fold_constants(model, editor, report)
        else:
            known = settled_integers
        if not changed and merge:
            changed += merge_initializers(model, editor, report)
            changed += merge_nodes(model, editor, known, report)
        if not changed:
            break
    return known
