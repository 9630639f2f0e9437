"""The trials of a search, one decision after another while the budget lasts, and its end."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Sequence

from onnxslim.core.attempts import attempt, find_death
from onnxslim.core.errors import LostWorkerError, UnsupportedError
from onnxslim.core.workers import Workers
from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.data_splits import TUNE_SHARE
from onnxslim.pipeline.recipe import Recipe, Step
from onnxslim.pipeline.result import Result
from onnxslim.pipeline.slow_rewrites import find_slow_rewrites
from onnxslim.pipeline.task import CompressionTask
from onnxslim.pruning.selection.time_estimate import PruneForecast
from onnxslim.quantization.linear_layers import has_large_linear_layers
from onnxslim.quantization.weight_only import int4_linear
from onnxslim.quantization.weight_only.mixed.pipeline import is_worth_mixing
from onnxslim.search.candidate import Candidate, CandidateResult, SearchState
from onnxslim.search.confirmation import Confirmation
from onnxslim.search.finalists import is_needed
from onnxslim.search.next_candidate import choose_next_candidate, predict_candidates
from onnxslim.search.sample_limits import halve_samples
from onnxslim.search.speculation import run_speculatively
from onnxslim.search.stepping_down import MILDER_SHARE, SteppingDown, choose_bolder_point, place_otherwise
from onnxslim.search.study import Study
from onnxslim.search.time_budget import (
    RECOVERY_SHARE,
    REWRITES_SHARE,
    can_recover,
    choose_step_seconds,
    choose_timing_seconds,
    find_confirm_deadline,
    reserve_confirm_seconds,
)
from onnxslim.search.trial import Trial, make_key, run_trial
from onnxslim.search.trial_record import add_trial, find_trial
from onnxslim.validation.latency import is_slower

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class Search:
    """One search under way.

    Attributes:
        task: What it is about.
        recipe: What to look for, with the gates and the seed.
        placement: Of int8 layers.
        started: When, on ``time.monotonic``'s clock.
        budget: Seconds.
        study: Where finished trials are kept.
        workers: Who begins trials ahead.
        trials: What was tried so far.
        pruning_samples: How many samples there is time to prune with; None for all.
        left_out: Exact rewrites that no candidate does, because they are slower here.
    """

    task: CompressionTask
    recipe: Recipe
    placement: str
    started: float
    budget: float
    study: Study | None
    workers: Workers
    trials: list[Trial] = dataclasses.field(default_factory=list)
    pruning_samples: int | None = None
    left_out: tuple[str, ...] = ()

    @functools.cached_property
    def layer_kinds(self) -> dict[str, bool]:
        """Which kinds of layers the original has, as :class:`~onnxslim.search.candidate.SearchState` asks for them."""
        return {
            "has_int4_layers": bool(int4_linear.find_int4_layers(self.task.original)),
            "has_mixed_weights": is_worth_mixing(self.task.original, self.task.config, by_time=self.placement == "measured"),
            "has_dynamic_layers": has_large_linear_layers(self.task.original),
            "can_prune": self.task.original_facts.macs > 0,
        }

    def run(self) -> str:
        """Try until nothing is left to try, or no time; why it ended."""
        while True:
            state, history = self._describe_state(), [trial.outcome for trial in self.trials]
            candidate = choose_next_candidate(history, state, self._is_known)
            is_unpruned = not any(trial.candidate.pruning_ratio for trial in self.trials)
            if is_unpruned and (candidate is None or candidate.pruning_ratio):
                known = self._find_first_pruning(history, state)
                candidate = known if known or candidate is None else self._choose_first_pruning(history, state)
            if candidate is None:
                candidate = choose_next_candidate(history, dataclasses.replace(state, seconds_left=float("inf")))
                return "nothing more to try" if candidate is None else f"no time left to try {candidate.name}"
            if self.workers.is_out_of_process:
                predicted = map(self._make_recipe, predict_candidates(history, state, self.workers.count))
                self._run_ahead([one for one in predicted if not self._knows(one)])
            seconds = choose_step_seconds(candidate, self.trials, state.seconds_left, self.budget)
            self.trials.append(self.run_trial(candidate, self._make_recipe(candidate), seconds))
            if len(self.trials) == 1 and self._leave_out_slow_rewrites():
                self._release_models(self.trials[0])
                self.trials[0] = self.run_trial(candidate, self._make_recipe(candidate), seconds)
            if (bolder := self._try_bolder(self.trials[-1])) is not None:
                self.trials.append(bolder)
            for trial in self.trials:
                if trial.attempt.models and not is_needed(trial, self.trials):
                    self._release_models(trial)
            self.task.progress("trials", len(self.trials), 0)

    def _release_models(self, trial: Trial) -> None:
        trial.attempt.release_models()
        if self.study is not None:
            self.study.release_model(trial.attempt.recipe.to_yaml())

    def _run_ahead(self, predicted: Sequence[Recipe]) -> None:
        """Have workers begin what may be wanted. Where one is lost each time, a recipe may be what ends it: which one, comes
        out here, where they are tried one after another.
        """
        try:
            run_speculatively(self.task, predicted, self.workers)
        except LostWorkerError as error:
            logger.warning("%s; trials begin in this process from here on", error.message)
            self.workers = Workers()

    def _try_bolder(self, trial: Trial) -> Trial | None:
        """More in int8 than the step chose, where nothing is pruned and only what few samples leave open was held against
        that: the confirm data can clear it, and what the step chose is there to fall back to.
        """
        point = choose_bolder_point(trial.front, trial.front_index or 0)
        if point is None or trial.candidate.pruning_ratio or trial.candidate.recovery_seconds:
            return None
        recipe = place_otherwise(trial, **trial.front[point].placed)
        if recipe is None:
            return None
        state = self._describe_state()
        # half of what is kept for the confirmation too: it is for the confirmation that this is made
        has_time = state.seconds_left + state.reserved_seconds / 2 >= MILDER_SHARE * trial.seconds
        if not has_time and not self._knows(recipe):
            return None
        candidate = dataclasses.replace(trial.candidate, milder=point - (trial.front_index or 0))
        bolder = self.run_trial(candidate, recipe, trial.seconds)
        bolder.front, bolder.front_index = trial.front, point
        return bolder

    def _leave_out_slow_rewrites(self) -> bool:
        """Find out by which rewrites the exact steps, tried first, made the model slower; whether any can be left out."""
        latency = self.trials[0].attempt.result.latency
        is_time_wanted = self.placement != "static" and self.recipe.search != "smallest"
        if not is_time_wanted or latency is None or not is_slower(latency):
            return False
        if self.study is not None:  # what was blamed before is blamed again, or nothing that is known fits
            known = [recipes.parse(text).steps[0] for text in self.study.list_recipes(self.trials[0].candidate.name)]
            self.left_out = next(
                (s.options.leave_out for s in reversed(known) if isinstance(s, Step) and s.options.leave_out), ()
            )
        if not self.left_out:
            try:
                with attempt(f"{self.task.original_facts.sha256} rewrites", "the search for rewrites that are slower"):
                    self.left_out = find_slow_rewrites(self.task, latency["ratio"], REWRITES_SHARE * self.budget)
            except UnsupportedError as error:
                logger.info("no rewrite is left out: %s", error.message)
        return bool(self.left_out)

    def run_trial(self, candidate: Candidate, recipe: Recipe, seconds: float) -> Trial:
        """Carry ``recipe`` out, its steps in about so many ``seconds``, or read what the study knows of it."""
        if self.study is not None and (known := find_trial(self.study, self.task, candidate, recipe)) is not None:
            logger.info("trial %s: known from the study", candidate.name)
            return known
        task = dataclasses.replace(self.task, deadline=time.monotonic() + seconds)
        trial = run_trial(
            task, candidate, recipe, self.recipe.search or "balanced", use_clock=self.placement != "static",
            timing_seconds=choose_timing_seconds(self.budget),
        )  # fmt: skip
        if self.study is not None:
            add_trial(self.study, trial)
        return trial

    def confirm(self) -> Result:
        """The best of the trials, or the original."""
        deadline = find_confirm_deadline(self.started, self.task.splits, self.trials, self.budget)

        def run_milder(candidate: Candidate, recipe: Recipe) -> Trial:
            judging = max((trial.outcome.judging_seconds for trial in self.trials), default=0.0)
            left = deadline - time.monotonic()
            return self.run_trial(candidate, recipe, max(left - 2 * judging, left / 3))

        stepping = SteppingDown(run_milder, self._make_recipe, self._knows)
        confirmation = Confirmation(self.task, self.recipe, stepping, deadline, self.placement != "static")
        result = confirmation.confirm_best(self.trials)
        for trial in self.trials:  # what was shown may be shown again, where the process dies of what comes after the search
            if self.study is not None and trial.attempt.result.evaluation is None:
                self.study.release_model(trial.attempt.recipe.to_yaml())
        return result

    def _choose_first_pruning(self, history: Sequence[CandidateResult], state: SearchState) -> Candidate | None:
        """The next candidate once pruning is all that is left, with as many samples as there is time to prune with."""
        fit = self.task.splits.fit
        if fit is None:
            return choose_next_candidate(history, state)
        # not asked before, because telling it takes seconds
        forecast = PruneForecast(self.task.original, fit, self.task.config)
        for count in halve_samples(len(fit)):
            seconds = forecast.predict_seconds(count)
            candidate = choose_next_candidate(history, dataclasses.replace(state, pruning_seconds=seconds))
            if candidate is not None:
                self.pruning_samples = None if count == len(fit) else count
                return candidate
        return None

    def _find_first_pruning(self, history: Sequence[CandidateResult], state: SearchState) -> Candidate | None:
        """The same where the study knows it, with as many samples as a search before had time to prune with."""
        fit = self.task.splits.fit
        for count in () if self.study is None or fit is None else halve_samples(len(fit)):
            self.pruning_samples = None if fit is None or count == len(fit) else count
            candidate = choose_next_candidate(history, state, self._is_known)
            if candidate is not None and self._is_known(candidate):
                return candidate
        self.pruning_samples = None
        return None

    def _is_known(self, candidate: Candidate) -> bool:
        return self._knows(self._make_recipe(candidate))

    def _knows(self, recipe: Recipe) -> bool:
        """Whether the study has what comes of ``recipe``, or a process before this one died of it."""
        is_kept = self.study is not None and self.study.find(recipe.to_yaml()) is not None
        return is_kept or find_death(make_key(self.task, recipe)) is not None

    def _describe_state(self) -> SearchState:
        reserved = reserve_confirm_seconds(self.task.splits, self.trials, self.budget)
        recovery_seconds = RECOVERY_SHARE * self.budget
        return SearchState(
            self.recipe.gates.max_drop,
            self.started + self.budget - reserved - time.monotonic(),
            recovery_seconds if can_recover(self.task, recovery_seconds) else 0.0,
            "params" if self.recipe.search == "smallest" else "macs",
            reserved_seconds=reserved,
            **self.layer_kinds,
        )

    def _make_recipe(self, candidate: Candidate) -> Recipe:
        idle_share = self.trials[0].idle_share if self.trials else 0.0
        steps = candidate.steps(self.placement, idle_share, self.pruning_samples, self.left_out)
        kept = self.recipe.keep_initializer_inputs
        return Recipe(
            steps, self.recipe.gates, self.recipe.seed, tune=TUNE_SHARE, keep_initializer_inputs=kept
        )  # fmt: skip
