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
from onnxslim.model_io import model_file
from onnxslim.pipeline.recipe import Repeat, Step
from onnxslim.pipeline.step_registry import STEP_REGISTRY, StepContext

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
        model = start or self.context.original
        for index, entry in enumerate(steps):
            if isinstance(entry, Repeat):
                completed += self._run_loop(entry, model)
            else:
                cache_key = make_prefix_key(steps[: index + 1]) if start is None else None
                completed.append(self._apply_cached(entry, model, cache_key, last=index + 1 == len(steps)))
            model = completed[-1].model if completed else model
        return completed

    def _apply_cached(self, step: Step, model: ir.Model, cache_key: str | None, *, last: bool) -> CompletedStep:
        if cache_key is None:
            return self._apply(step, model)
        # what recipes share is their beginning: nobody asks for the last step of one again
        completed = self.step_cache.pop(cache_key, None) if last else self.step_cache.get(cache_key)
        if completed is None:
            completed = self._apply(step, model)
            if not last:
                self.step_cache[cache_key] = completed
        return completed

    def _apply(self, step: Step, model: ir.Model) -> CompletedStep:
        # how a sum is divided among threads shows in its last bits, and the same recipe is to give the same bytes
        with threadpool_limits(1, user_api="blas"):
            result, report, options = STEP_REGISTRY[step.name].apply(model, step.options, self.context)
        logger.info("%s: %s", step.name, report.changed)
        return CompletedStep(dataclasses.replace(step, options=options), result, report)

    def _run_loop(self, loop: Repeat, model: ir.Model) -> list[CompletedStep]:
        """Turns until one is too much, which is taken back."""
        completed: list[CompletedStep] = []
        for turn in range(loop.times):
            if self.deadline is not None and time.monotonic() > self.deadline:
                logger.info("the time was up after %d turns", turn)
                break
            current, turn_steps = model, []
            try:
                for step in loop.steps:
                    turn_steps.append(self._apply(step, current))
                    current = turn_steps[-1].model
            except GateError as error:  # nothing is left to remove
                logger.info("turn %d: %s", turn + 1, error.message)
                break
            if loop.until == "drop" and self.exceeds_gates(current):
                break
            if loop.until == "no_gain" and not _is_reduced(model, current):
                break
            completed += turn_steps
            model = current
        return completed


def _is_reduced(before: ir.Model, after: ir.Model) -> bool:
    smaller = len(model_file.to_bytes(after)) <= _MAX_REMAINING_SHARE * len(model_file.to_bytes(before))
    return smaller or compute_cost(after).macs <= _MAX_REMAINING_SHARE * compute_cost(before).macs
