"""The end of a search: finalists are shown the confirm data, one after another and each milder than the one before, until
one passes; where none does, or none gains anything, the original stays what it is.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from onnxslim.core.errors import GateError
from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.kept_original import keep_original
from onnxslim.pipeline.recipe import Recipe
from onnxslim.pipeline.result import Result
from onnxslim.pipeline.task import CompressionTask
from onnxslim.reporting.drops import describe_drop
from onnxslim.search.candidate import Candidate
from onnxslim.search.finalists import (
    choose_loss_share,
    choose_milder_point,
    count_open_reads,
    is_sure,
    select_finalists,
    step_down,
)
from onnxslim.search.pareto import pareto_front
from onnxslim.search.trial import Trial
from onnxslim.search.verdict import describe_gain, describe_search, describe_verdict, suggest_max_drop
from onnxslim.validation.gates import find_gate_failures
from onnxslim.validation.latency import is_slower

logger = logging.getLogger(__name__)

#: What a milder placement takes to make, of what the whole choice among placements took.
_MILDER_SHARE = 0.5
#: A milder placement that drops more than this share of what the one before dropped shows that the drop is not int8's.
_MAX_DROP_LEFT = 0.9

#: Carries out a recipe as a trial of the search.
TrialRunner = Callable[[Candidate, Recipe], Trial]


@dataclasses.dataclass
class Confirmation:
    """What the finalists are shown, and until when.

    Attributes:
        task: What the search is about.
        recipe: What was looked for: the gates and the seed.
        run: Carries out a milder placement.
        deadline: On ``time.monotonic``'s clock: after it only what has to be done is.
        use_clock: Whether a measured time counts.
    """

    task: CompressionTask
    recipe: Recipe
    run: TrialRunner
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
        tried, queue, reads = list(trials), select_finalists(trials), 0
        while queue:
            late = time.monotonic() > self.deadline and reads > 0
            trial = next((t for t in queue if is_sure(t.candidate)), queue[0]) if late else queue[0]
            queue.remove(trial)
            reads += 1
            refusal = self._show(trial)
            if refusal is None:
                return self._finish(tried, trial, reads)
            trial.refusal = refusal
            if late:
                break
            milder = self._make_milder(trial, tried) if count_open_reads(queue, trial, reads) > 0 else None
            if milder is not None:
                tried.append(milder)
                queue = step_down(queue, trial, milder, reads) if milder.may_pass else queue
        return self._keep_original(tried, reads)

    def _show(self, trial: Trial) -> str | None:
        """Show ``trial`` the confirm data and, where it passes, time it once more; why it is refused, or None."""
        attempt = trial.attempt
        try:
            attempt.confirm(judge_stages=False)
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
        latency = attempt.result.latency
        if self.use_clock and self.recipe.search != "smallest" and latency is not None and is_slower(latency):
            return f"slower when it was timed again: {latency['ratio']:.2f} times the original's speed"
        if self._fits(self._predict_judging(trial) * (1 + len(attempt.models))):
            attempt.judge_stages()
        return None

    def _make_milder(self, trial: Trial, tried: Sequence[Trial]) -> Trial | None:
        """The next milder placement of ``trial``, which lost too much on confirm; None where there is none, or no time.

        Where every layer passed on tune no front was looked for: what each loses is measured now, on the fit data.
        """
        limit, text, drop = self.recipe.gates.max_drop, trial.attempt.result.recipe, trial.confirm_drop
        if limit is None or drop is None or drop <= limit or text is None:
            return None
        unmilder = dataclasses.replace(trial.candidate, milder=0)
        earlier = [
            t.confirm_drop for t in tried if dataclasses.replace(t.candidate, milder=0) == unmilder and t is not trial
        ]
        if any(known is not None and drop > _MAX_DROP_LEFT * known for known in earlier):
            return None
        resolved = recipes.parse(text)
        *before, last = resolved.steps
        if not isinstance(last, recipes.Step) or last.name != "quantize":
            return None  # what was learned after it was learned for that placement

        def run(seconds: float, **changes: Any) -> Trial | None:
            if not self._fits(seconds):
                return None
            options = dataclasses.replace(last.options, **changes)
            recipe = dataclasses.replace(resolved, steps=(*before, recipes.Step(last.name, options)))
            return self.run(dataclasses.replace(trial.candidate, milder=trial.candidate.milder + 1), recipe)

        loss_share = choose_loss_share(drop, limit)
        if trial.front_index is None:
            has_placement = last.options.float_units is not None
            milder = run(trial.seconds, loss_share=loss_share, float_weights="auto") if has_placement else None
        elif (point := choose_milder_point(trial.front, trial.front_index, loss_share)) is not None:
            milder = run(_MILDER_SHARE * trial.seconds, float_units=trial.front[point].float_units)
            if milder is not None:
                milder.front, milder.front_index = trial.front, point
        else:
            milder = None
        if milder is not None and milder.front_index:
            steps = milder.front_index - (trial.front_index or 0)
            milder.candidate = dataclasses.replace(trial.candidate, milder=trial.candidate.milder + steps)
        return milder

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
            best = max((t for t in tried if t.error is None), key=lambda t: t.score)
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
