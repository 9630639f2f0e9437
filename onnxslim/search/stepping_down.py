"""Something milder of what the confirm data refused: a placement further down its own front, or less of its pruning."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.recipe import Recipe, Step
from onnxslim.quantization.decision import FrontPoint
from onnxslim.search.candidate import Candidate
from onnxslim.search.trial import Trial

#: Of the drop that is allowed, what is asked of what comes next: it is a prediction.
_DROP_MARGIN = 0.8
#: What a placement takes to make that is known, of what the whole choice among placements took.
MILDER_SHARE = 0.5
#: A milder placement that drops more than this share of what the one before dropped shows that the drop is not int8's, or,
#: where nothing else changed, that losses told little: the next one is to lose so much less than they say.
_MAX_DROP_LEFT, _LEAP = 0.9, 0.25
#: Of a share to prune that lost too much, the least and the most that is tried next, and how near a known one has to be.
_LEAST_LEFT, _MOST_LEFT, _NEAR = 0.5, 0.9, 0.1
#: Shares to prune below this are nothing.
_MIN_RATIO = 0.02


@dataclass(frozen=True)
class SteppingDown:
    """Makes something milder of a trial.

    Attributes:
        run: Carries out a recipe as a trial of the search.
        make_recipe: The recipe of a candidate.
        knows: Whether it is known what comes of a recipe, so that it takes no time.
    """

    run: Callable[[Candidate, Recipe], Trial]
    make_recipe: Callable[[Candidate], Recipe]
    knows: Callable[[Recipe], bool] = lambda recipe: False

    def make_milder(
        self, trial: Trial, tried: Sequence[Trial], limit: float | None, fits: Callable[[float], bool]
    ) -> Trial | None:
        """What is milder than ``trial``: new, or one of ``tried``; None where nothing is, or no time for it.

        Args:
            trial: It lost more than ``limit`` on the confirm data.
            tried: All that was tried.
            limit: The drop that is allowed.
            fits: Whether there is time for so many seconds.
        """
        drop = trial.confirm_drop
        if limit is None or drop is None or not drop > limit or trial.candidate.recovery_seconds:
            return None  # what was learned was learned for that placement and that share
        is_stuck = _is_stuck(trial, tried)
        if trial.candidate.pruning_ratio and (is_stuck or _is_pruning_to_blame(trial, tried)):
            return self._prune_less(trial, tried, limit, fits)
        return self._place_milder(trial, tried, limit, fits, _LEAP if is_stuck else 1.0)

    def _prune_less(self, trial: Trial, tried: Sequence[Trial], limit: float, fits: Callable[[float], bool]) -> Trial | None:
        """A share of which the drop should be small enough, taken to grow with its square."""
        share = math.sqrt(_DROP_MARGIN * limit / (trial.confirm_drop or math.inf))
        ratio = round(trial.candidate.pruning_ratio * min(max(share, _LEAST_LEFT), _MOST_LEFT), 2)
        alike = [
            other for other in tried
            if replace(other.candidate, pruning_ratio=0.0) == replace(trial.candidate, pruning_ratio=0.0, milder=0)
            and abs(other.candidate.pruning_ratio - ratio) <= _NEAR * ratio and other.refusal is None
            and is_at_hand(other)
        ]  # fmt: skip
        if alike:
            return max(alike, key=lambda other: (other.may_pass, other.score))
        if not _MIN_RATIO <= ratio < trial.candidate.pruning_ratio:
            return None
        candidate = replace(trial.candidate, pruning_ratio=ratio, milder=0)
        recipe = self.make_recipe(candidate)
        has_time = fits(trial.seconds - trial.survey_seconds) or self.knows(recipe)
        return self.run(candidate, recipe) if has_time else None

    def _place_milder(
        self, trial: Trial, tried: Sequence[Trial], limit: float, fits: Callable[[float], bool], leap: float
    ) -> Trial | None:
        """The next milder placement; of what it should lose by its drop it may lose the share ``leap``.

        Where every layer passed on tune no front was looked for: what each loses is measured now, on the fit data.
        """
        drop, candidate = trial.confirm_drop or math.inf, trial.candidate

        def run(seconds: float, **changes: Any) -> Trial | None:
            recipe = place_otherwise(trial, **changes)
            if recipe is None or not (fits(seconds) or self.knows(recipe)):
                return None
            return self.run(replace(candidate, milder=candidate.milder + 1), recipe)

        loss_share, milder = leap * choose_loss_share(drop, limit), None
        if trial.front_index is None:
            milder = run(trial.seconds, loss_share=loss_share, float_weights="auto")
        elif (point := choose_milder_point(trial.front, trial.front_index, loss_share)) is not None:
            for other in tried:
                if (
                    other.front == trial.front
                    and trial.front_index < (other.front_index or 0) <= point
                    and not other.refusal
                    and is_at_hand(other)
                ):
                    return other
            # int8 weights of what stayed in float before say nothing of what stays there now
            milder = run(MILDER_SHARE * trial.seconds, float_weights="auto", **trial.front[point].placed)
            if milder is not None:
                milder.front, milder.front_index = trial.front, point
        if milder is not None and milder.front_index:
            steps = milder.front_index - (trial.front_index or 0)
            milder.candidate = replace(candidate, milder=candidate.milder + steps)
        return milder


def choose_loss_share(drop: float, limit: float) -> float:
    """Of what a placement loses, what the next milder one may.

    Losses are squares of errors, and answers flip as often as errors are large: the drop is taken to grow with their root.

    Args:
        drop: What it dropped on the confirm data, above ``limit``.
        limit: What is allowed.
    """
    return (_DROP_MARGIN * limit / drop) ** 2 if math.isfinite(drop) else 0.0


def choose_milder_point(front: Sequence[FrontPoint], chosen: int, loss_share: float) -> int | None:
    """The index of the placement to try when the one at ``chosen`` dropped too much; None where no milder one is left.

    The first that should lose little enough; the mildest where none should.

    Args:
        front: From the fastest to the mildest.
        chosen: Index of what was shown.
        loss_share: Of what that loses, what the next may.
    """
    milder = range(chosen + 1, len(front))
    allowed = loss_share * front[chosen].loss
    return next((i for i in milder if front[i].loss <= allowed), len(front) - 1 if milder else None)


def is_at_hand(trial: Trial) -> bool:
    """Whether ``trial`` can be shown the confirm data, if it may: what was beaten on tune has let its models go."""
    return bool(trial.attempt.models) or not trial.may_pass


def place_otherwise(trial: Trial, **changes: Any) -> Recipe | None:
    """The recipe that ``trial`` came to with ``changes`` to the options of its placement; None where it placed nothing, or
    chose formats and had no others to choose from.
    """
    if trial.attempt.result.recipe is None:
        return None
    resolved = recipes.parse(trial.attempt.result.recipe)
    *before, last = resolved.steps
    if not isinstance(last, Step) or last.name != "quantize":
        return None
    if last.options.float_units is None and not trial.front:
        return None
    return replace(resolved, steps=(*before, Step(last.name, replace(last.options, **changes))))


def choose_bolder_point(front: Sequence[FrontPoint], chosen: int) -> int | None:
    """The fastest point of ``front`` that was passed over although the samples it was judged by do not refuse it."""
    tried = ((i, point.least_excess) for i, point in enumerate(front[:chosen]))
    return next((i for i, excess in tried if excess is not None and excess <= 1), None)


def _is_stuck(trial: Trial, tried: Sequence[Trial]) -> bool:
    """Whether a placement before that of ``trial``, and less mild, dropped hardly more."""
    unmilder = replace(trial.candidate, milder=0)
    earlier = [t.confirm_drop for t in tried if replace(t.candidate, milder=0) == unmilder and t is not trial]
    return any(known is not None and (trial.confirm_drop or 0.0) > _MAX_DROP_LEFT * known for known in earlier)


def _is_pruning_to_blame(trial: Trial, tried: Sequence[Trial]) -> bool:
    """Whether what ``trial`` lost is what was pruned, as far as the same without pruning tells on tune."""
    unpruned = replace(trial.candidate, pruning_ratio=0.0, low_rank=False, milder=0)
    known = next((t.seen_drop for t in tried if t.candidate == unpruned), 0.0)
    return not known > trial.seen_drop / 2
