"""Steps carried out one after another, loops turn by turn; what began alike before is not done again."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir
from threadpoolctl import threadpool_limits

from onnxslim import io
from onnxslim.account import Account
from onnxslim.errors import GateError
from onnxslim.graph.cost import cost
from onnxslim.kinds import KINDS, Context
from onnxslim.recipe import Repeat, Step

logger = logging.getLogger(__name__)

#: A turn that leaves more than this share of both bytes and multiplications gained nothing.
_GAIN = 0.99


@dataclass(frozen=True)
class Done:
    """One step that was carried out: with its options resolved, the model after it, and its account."""

    step: Step
    model: ir.Model
    account: Account


def begun(steps: Sequence[Step | Repeat]) -> str:
    """What stands for the first steps of a recipe in a :class:`Runner`'s memory."""
    return repr(tuple(steps))


@dataclass
class Runner:
    """Carries out the steps of recipes that start from one model.

    Attributes:
        context: What steps may use.
        too_much: Whether a model lost more than the gates allow; asked by loops that run until ``drop``.
        deadline: On ``time.monotonic``'s clock; no turn of a loop begins after it.
        memory: What earlier recipes did, by their first steps (:func:`begun`): recipes that begin alike share that part.
    """

    context: Context
    too_much: Callable[[ir.Model], bool] = lambda model: False
    deadline: float | None = None
    memory: dict[str, Done] = field(default_factory=dict)

    def run(self, steps: Sequence[Step | Repeat], start: ir.Model | None = None) -> list[Done]:
        """Carry out ``steps``.

        Args:
            steps: In order.
            start: What the first begins with; by default the original.

        Raises:
            OnnxslimError: Whatever a step raises.
        """
        done: list[Done] = []
        model = start or self.context.original
        for index, entry in enumerate(steps):
            if isinstance(entry, Repeat):
                done += self._repeat(entry, model)
            else:
                known = begun(steps[: index + 1]) if start is None else None
                done.append(self._recalled(entry, model, known, last=index + 1 == len(steps)))
            model = done[-1].model if done else model
        return done

    def _recalled(self, step: Step, model: ir.Model, known: str | None, *, last: bool) -> Done:
        if known is None:
            return self._apply(step, model)
        # what recipes share is their beginning: nobody asks for the last step of one again
        found = self.memory.pop(known, None) if last else self.memory.get(known)
        if found is None:
            found = self._apply(step, model)
            if not last:
                self.memory[known] = found
        return found

    def _apply(self, step: Step, model: ir.Model) -> Done:
        # how a sum is divided among threads shows in its last bits, and the same recipe is to give the same bytes
        with threadpool_limits(1, user_api="blas"):
            result, account, options = KINDS[step.name].apply(model, step.options, self.context)
        logger.info("%s: %s", step.name, account.changed)
        return Done(dataclasses.replace(step, options=options), result, account)

    def _repeat(self, loop: Repeat, model: ir.Model) -> list[Done]:
        """Turns until one is too much, which is taken back."""
        done: list[Done] = []
        for turn in range(loop.times):
            if self.deadline is not None and time.monotonic() > self.deadline:
                logger.info("the time was up after %d turns", turn)
                break
            current, taken = model, []
            try:
                for step in loop.steps:
                    taken.append(self._apply(step, current))
                    current = taken[-1].model
            except GateError as error:  # nothing is left to remove
                logger.info("turn %d: %s", turn + 1, error.message)
                break
            if loop.until == "drop" and self.too_much(current):
                break
            if loop.until == "no_gain" and not _gained(model, current):
                break
            done += taken
            model = current
        return done


def _gained(before: ir.Model, after: ir.Model) -> bool:
    smaller = len(io.to_bytes(after)) <= _GAIN * len(io.to_bytes(before))
    return smaller or cost(after).macs <= _GAIN * cost(before).macs
