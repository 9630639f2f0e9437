"""The end of a search: finalists are shown the confirm data, one after another and each milder than the one before, until
one passes; where none does, or none gains anything, the original stays what it is.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxslim.core import attempts
from onnxslim.core.errors import DefectError, GateError, LimitError, OnnxslimError
from onnxslim.pipeline.drop_bounds import bound_drop
from onnxslim.pipeline.kept_original import keep_original
from onnxslim.pipeline.recipe import Recipe
from onnxslim.pipeline.result import Result
from onnxslim.pipeline.task import CompressionTask
from onnxslim.reporting.drops import describe_drop
from onnxslim.search.finalists import (
    count_open_reads,
    has_good_successor,
    is_hopeless,
    is_sure,
    is_weights_only,
    predict_confirm_drop,
    select_finalists,
    step_down,
)
from onnxslim.search.stepping_down import SteppingDown
from onnxslim.search.trial import Trial
from onnxslim.search.verdict import describe_gain, describe_search, describe_verdict, suggest_max_drop
from onnxslim.validation.gates import find_gate_failures
from onnxslim.validation.latency import is_slower

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class Confirmation:
    """What the finalists are shown, and until when.

    Attributes:
        task: What the search is about.
        recipe: What was looked for: the gates and the seed.
        stepping: Makes something milder of what failed.
        deadline: On ``time.monotonic``'s clock: after it only what has to be done is.
        use_clock: Whether a measured time counts.
    """

    task: CompressionTask
    recipe: Recipe
    stepping: SteppingDown
    deadline: float
    use_clock: bool = True

    def confirm_best(self, trials: Sequence[Trial]) -> Result:
        """The best that passes on tune and on confirm, or the original.

        Raises:
            GateError: A gate on size or time is met by nothing, not by the original either.
            OnnxslimError: Every trial failed: what the first failed of.
        """
        if trials[0].cause is not None and all(trial.error is not None for trial in trials):
            raise trials[0].cause
        tried, queue, reads, limit = list(trials), select_finalists(trials), 0, self.recipe.gates.max_drop
        failed: list[Trial] = []  # those that something milder may still be made of
        while queue:
            late = time.monotonic() > self.deadline and reads > 0
            trial = next((t for t in queue if is_sure(t.candidate)), queue[0]) if late else queue[0]
            queue.remove(trial)
            trial = trial if late else self._replace_hopeless(trial, tried, queue, reads)
            reads += 1
            refusal = self._show(trial)
            if refusal is None:
                return self._finish(tried, trial, reads)
            trial.refusal = refusal
            if late:
                break
            failed.append(trial)
            while failed and count_open_reads(queue, reads) > 0 and not has_good_successor(queue, failed[-1], limit):
                last = failed.pop()
                milder = self.stepping.make_milder(last, tried, limit, self._fits)
                if milder is None:
                    continue
                tried += [] if milder in tried else [milder]
                queue = [other for other in queue if other is not milder]
                if milder.may_pass and not is_hopeless(milder, last, limit):
                    queue = step_down(queue, last, milder, reads, limit)
                    break
        return self._keep_original(tried, reads)

    def _replace_hopeless(self, trial: Trial, tried: list[Trial], queue: list[Trial], reads: int) -> Trial:
        """``trial``, or something milder in the place of int8 weights that are expected to drop too much, where no read
        would be left for what they step down to.
        """
        limit = self.recipe.gates.max_drop
        if limit is None or not is_weights_only(trial.candidate) or count_open_reads(queue, reads + 1) > 0:
            return trial
        expected = predict_confirm_drop(trial, [other for other in tried if other.refusal is not None])
        if expected <= limit:
            return trial
        known = dataclasses.replace(trial, confirm_drop=expected)
        milder = self.stepping.make_milder(known, tried, limit, self._fits)
        if milder is None or not milder.may_pass:
            return trial
        tried += [] if milder in tried else [milder]
        return milder

    def _show(self, trial: Trial) -> str | None:
        """Show ``trial`` the confirm data and, where it passes, time it once more; why it is refused, or None.

        What only this result cannot do on these data is no reason to end the search; what the original cannot do either
        comes up again when that is judged.
        """
        attempt = trial.attempt
        try:
            with attempts.attempt(f"{trial.key} confirm", f"{trial.candidate.name} on the confirm data"):
                if not attempt.models:  # a process before this one knew it, and had let it go or had no room for it
                    attempt.remake_model()
                attempt.confirm(judge_stages=False)
                if trial.is_unproven and not self._is_proven(trial):
                    return f"on the confirm data it {'; '.join(trial.loss)}"
                if self._fits(self._predict_timing(trial)):
                    attempt.measure()
                    attempt.confirm()
        except GateError as error:
            metric = None if attempt.result.evaluation is None else attempt.result.evaluation.metric
            if metric is not None:
                trial.confirm_drop = metric.get_drop_by(self.recipe.gates.max_drop or 0.0)
                trial.describe_loss(metric)
            logger.info("%s was refused: %s", trial.candidate.name, error.message)
            limit = self.recipe.gates.max_drop
            is_drop = limit is not None and trial.confirm_drop is not None and trial.confirm_drop > limit
            return f"on the confirm data it {'; '.join(trial.loss)}" if is_drop else error.message
        except (LimitError, MemoryError, OSError):
            raise
        except Exception as error:
            logger.debug("%s failed on the confirm data", trial.candidate.name, exc_info=True)
            trial.cause = error if isinstance(error, OnnxslimError) else DefectError.of(error)
            return f"on the confirm data it failed: {trial.cause.message}"
        latency = attempt.result.latency
        if self.use_clock and self.recipe.search != "smallest" and latency is not None and is_slower(latency):
            return f"slower when it was timed again: {latency['ratio']:.2f} times the original's speed"
        if self._fits(self._predict_judging(trial) * (1 + len(attempt.models))):
            self._judge_stages(trial)
        return None

    def _judge_stages(self, trial: Trial) -> None:
        """Judge what is between the steps of ``trial``, which is confirmed: for the report, so that nothing ends of it."""
        try:
            with attempts.attempt(f"{trial.key} stages", f"{trial.candidate.name}, judged step by step"):
                trial.attempt.judge_stages()
        except Exception as error:
            logger.debug("%s was not judged step by step", trial.candidate.name, exc_info=True)
            told = error if isinstance(error, OnnxslimError) else DefectError.of(error)
            trial.attempt.result.warnings.append(f"what is between the steps was not judged: {told.message}")

    def _is_proven(self, trial: Trial) -> bool:
        """Whether ``trial`` passes on the confirm data with all of its standard error, as the tune share could not tell."""
        evaluation, limit = trial.attempt.result.evaluation, self.recipe.gates.max_drop
        if evaluation is None or limit is None:
            return True
        worst = max(evaluation.gating, key=lambda metric: bound_drop([metric], limit, many=True))
        counted = bound_drop([worst], limit, many=True)
        trial.confirm_drop = worst.get_drop_by(limit)
        trial.describe_loss(worst)
        trial.confirm_drop = counted
        return counted <= limit

    def _finish(self, tried: list[Trial], trial: Trial, reads: int) -> Result:
        result = trial.attempt.result
        loss = None if result.evaluation is None else describe_drop(result.evaluation.metric)
        result.extra["summary"] = "; ".join(filter(None, (f"{trial.candidate.name}: {describe_gain(trial)}", loss)))
        self._describe(result, tried, trial, reads)
        return result

    def _keep_original(self, tried: list[Trial], reads: int) -> Result:
        """The original, where nothing better passed; a gate on size or time that it does not meet is told by the best."""
        timed = next((t.attempt.result.latency for t in tried if t.attempt.result.latency is not None), None)
        judging = max((self._predict_judging(trial) for trial in tried), default=0.0)
        try:
            result = keep_original(self.task, self.recipe, describe_search(tried), timed=timed, judge=self._fits(judging))
        except GateError as error:
            best = max((t for t in tried if t.error is None), key=lambda t: t.score, default=None)
            if best is None:
                raise
            gates = dataclasses.replace(self.recipe.gates, max_drop=None, min_agreement=None, min_sqnr=None)
            missed = find_gate_failures(gates, None, best.attempt.result.latency, best.attempt.sizes)
            reasons = missed or [best.refusal or best.loss[0]]
            failure = GateError(f"{best.candidate.name}: {'; '.join(reasons)}", hint=error.hint)
            failure.result = best.attempt.result  # type: ignore[attr-defined]
            self._describe(best.attempt.result, tried, None, reads)
            raise failure from None
        self._describe(result, tried, None, reads)
        return result

    def _describe(self, result: Result, tried: list[Trial], chosen: Trial | None, reads: int) -> None:
        """What the report tells of the search."""
        result.extra["candidates"] = list_trials(tried, chosen)
        defects = [t for t in tried if isinstance(t.cause, DefectError)]
        result.warnings += [f"{t.candidate.name}: {t.error}; please report it with the model, if you can" for t in defects]
        result.extra["chosen"] = "original" if chosen is None else chosen.candidate.name
        result.extra["other_points"] = list_other_points(tried, chosen)
        if result.data["confirm"] is not None:
            result.data["confirm"]["read"] = reads

    def _predict_judging(self, trial: Trial) -> float:
        """Seconds that one model takes on the confirm data, by what judging ``trial`` on tune took."""
        splits = self.task.splits
        if splits.tune is None or splits.confirm is None:
            return 0.0
        return trial.evaluation_seconds / 2 * len(splits.confirm) / len(splits.tune)

    def _predict_timing(self, trial: Trial) -> float:
        """Seconds that timing every stage of ``trial`` takes, and the memory of both ends."""
        return trial.timing_seconds * (1 + len(trial.attempt.models)) / 2

    def _fits(self, seconds: float) -> bool:
        return time.monotonic() + seconds < self.deadline


def list_trials(trials: Sequence[Trial], chosen: Trial | None) -> list[dict[str, Any]]:
    """The trials for the report, with those marked that no other beats in size, time and drop at once."""
    entries = [trial.as_json() | {"verdict": describe_verdict(trial, chosen)} for trial in trials]
    costs = [[entry[key] for key in ("bytes", "median_ms", "tune_drop")] for entry in entries]
    on_front = set(pareto_front(costs))
    return [{**entry, "pareto": index in on_front} for index, entry in enumerate(entries)]


def list_other_points(trials: Sequence[Trial], chosen: Trial | None) -> list[dict[str, Any]]:
    """What else could be had, and the options that take it: of what drops too much the nearest to the limit."""
    limit = trials[0].attempt.recipe.gates.max_drop
    score = 1.0 if chosen is None else chosen.score
    worth_having = [t for t in trials if t is not chosen and t.error is None and not t.missed_gates and t.gains]
    points = []
    for trial in sorted((t for t in worth_having if t.score > score), key=lambda t: t.known_drop):
        accepted = suggest_max_drop(trial)
        if limit is not None and accepted is not None and (trial.refusal is not None or trial.drop > limit):
            told = f"{describe_gain(trial)}, {trial.loss[0]}"
            points.append({"name": trial.candidate.name, "costs": told, "options": f"--max-drop {accepted}"})
    return points


def pareto_front(costs: Sequence[Sequence[float | None]]) -> list[int]:
    """Indices of the rows that no other row dominates: none is at most as large everywhere and smaller somewhere.

    Of equal rows the first stays. Ascending.

    Args:
        costs: Shape (n, k); smaller is better in every column. A row with a value that is None or not finite is never in
            it.
    """
    rows = np.array(costs, np.float64, ndmin=2)
    finite = np.asarray(np.isfinite(rows).all(1))
    on_front = []
    for index in range(len(costs)):
        row, others = rows[index], rows[finite]
        dominated = bool(((others <= row).all(1) & (others < row).any(1)).any())
        if finite[index] and not dominated and not (rows[:index] == row).all(1).any():
            on_front.append(index)
    return on_front
