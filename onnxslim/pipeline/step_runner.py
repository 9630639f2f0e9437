"""Steps carried out one after another, loops turn by turn; what began alike before is not done again."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir
from threadpoolctl import threadpool_limits

from onnxslim.core.errors import GateError
from onnxslim.core.step_report import StepReport
from onnxslim.graph.cost import compute_cost
from onnxslim.graph.signature import list_input_names
from onnxslim.model_io import model_file
from onnxslim.pipeline.recipe import Repeat, Step
from onnxslim.pipeline.step_registry import STEP_REGISTRY, StepContext
from onnxslim.simplification.idle_channels import IDLE_CHANNELS, SimplifyDecision
from onnxslim.simplification.step import SimplifyOptions, simplify

logger = logging.getLogger(__name__)

#: A turn that leaves more than this share of both bytes and multiplications gained nothing.
_MAX_REMAINING_SHARE = 0.99


@dataclass(frozen=True)
class CompletedStep:
    """One step that was carried out: with its options resolved, the model after it, and its report."""

    step: Step
    model: ir.Model
    report: StepReport


def make_prefix_key(steps: Sequence[Step | Repeat]) -> str:
    """The key of the first steps of a recipe in the step cache of a :class:`Runner`."""
    return repr(tuple(steps))


@dataclass(frozen=True)
class _Position:
    """Where a recipe is.

    Attributes:
        model: What the next step begins with.
        unreduced: Of the first simplification since the last pruning that took channels nothing depends on, what it began
            with and its options. A share to prune counts those channels: it is of the model as it would be with them.
    """

    model: ir.Model
    unreduced: tuple[ir.Model, SimplifyOptions] | None = None

    def after(self, done: CompletedStep) -> _Position:
        """The position once ``done`` is."""
        decision = done.report.decision
        if done.step.name == "prune":
            return _Position(done.model)
        if self.unreduced is None and isinstance(decision, SimplifyDecision) and decision.took_channels:
            return _Position(done.model, (self.model, done.step.options))
        return dataclasses.replace(self, model=done.model)

    def restore_channels(self) -> ir.Model | None:
        """The simplified model with the channels that simplification took; None where it took none."""
        if self.unreduced is None:
            return None
        model, options = self.unreduced
        options = dataclasses.replace(options, skip=(*options.skip, IDLE_CHANNELS))
        return simplify(model, options, kept_inputs=list_input_names(model))[0]


@dataclass
class Runner:
    """Carries out the steps of recipes that start from one model.

    Attributes:
        context: What steps may use.
        exceeds_gates: Whether a model lost more than the gates allow; asked by loops that run until ``drop``.
        deadline: On ``time.monotonic``'s clock; no turn of a loop begins after it.
        step_cache: What earlier recipes did, by their first steps (:func:`make_prefix_key`): recipes that begin alike
            share that part.
    """

    context: StepContext
    exceeds_gates: Callable[[ir.Model], bool] = lambda model: False
    deadline: float | None = None
    step_cache: dict[str, CompletedStep] = field(default_factory=dict)

    def run(self, steps: Sequence[Step | Repeat], start: ir.Model | None = None) -> list[CompletedStep]:
        """Carry out ``steps``.

        Args:
            steps: In order.
            start: What the first begins with; by default the original.

        Raises:
            OnnxslimError: Whatever a step raises.
        """
        completed: list[CompletedStep] = []
        position = _Position(start or self.context.original)
        for index, entry in enumerate(steps):
            if isinstance(entry, Repeat):
                turns, position = self._run_loop(entry, position)
                completed += turns
            else:
                cache_key = make_prefix_key(steps[: index + 1]) if start is None else None
                completed.append(self._apply_cached(entry, position, cache_key, last=0 < index == len(steps) - 1))
                position = position.after(completed[-1])
        return completed

    def _apply_cached(self, step: Step, position: _Position, cache_key: str | None, *, last: bool) -> CompletedStep:
        if cache_key is None:
            return self._apply(step, position)
        # what recipes share is their beginning, which may be all of one: nobody asks for the last of several steps again
        completed = self.step_cache.pop(cache_key, None) if last else self.step_cache.get(cache_key)
        if completed is None:
            completed = self._apply(step, position)
            if not last:
                self.step_cache[cache_key] = completed
        return completed

    def _apply(self, step: Step, position: _Position) -> CompletedStep:
        context = self.context
        if step.name == "prune":
            context = dataclasses.replace(context, whole=position.restore_channels())
        # how a sum is divided among threads shows in its last bits, and the same recipe is to give the same bytes
        with threadpool_limits(1, user_api="blas"):
            result, report, options = STEP_REGISTRY[step.name].apply(position.model, step.options, context)
        logger.info("%s: %s", step.name, report.changed)
        return CompletedStep(dataclasses.replace(step, options=options), result, report)

    def _run_loop(self, loop: Repeat, position: _Position) -> tuple[list[CompletedStep], _Position]:
        """Turns until one is too much, which is taken back, and where that leads."""
        does_prune = any(step.name == "prune" for step in loop.steps)
        completed: list[CompletedStep] = []
        for turn in range(loop.times):
            if self.deadline is not None and time.monotonic() > self.deadline:
                logger.info("the time was up after %d turns", turn)
                break
            current, turn_steps = position, []
            try:
                for step in loop.steps:
                    turn_steps.append(self._apply(step, current))
                    current = current.after(turn_steps[-1])
            except GateError as error:  # nothing is left to remove
                logger.info("turn %d: %s", turn + 1, error.message)
                break
            if loop.until == "drop" and self.exceeds_gates(current.model):
                break
            before = (position.restore_channels() if does_prune else None) or position.model
            if loop.until == "no_gain" and not _is_reduced(before, current.model):
                break
            completed += turn_steps
            position = current
        return completed, position


def _is_reduced(before: ir.Model, after: ir.Model) -> bool:
    smaller = model_file.count_bytes(after) <= _MAX_REMAINING_SHARE * model_file.count_bytes(before)
    return smaller or compute_cost(after).macs <= _MAX_REMAINING_SHARE * compute_cost(before).macs
