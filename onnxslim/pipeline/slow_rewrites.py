"""Exact rewrites that make a model slower where it runs: found by leaving them out.

Rules decline by geometry what runtimes are known to lose by; what this machine's runtime loses besides shows in its times
alone. The log of what the rules did is halved until a few rewrites are left without which the model is as fast as it was
(delta debugging, Zeller and Hildebrandt, 2002), first whole rules, then single places.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from onnxslim.graph.signature import list_input_names
from onnxslim.pipeline.attempt import Attempt
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.task import CompressionTask
from onnxslim.simplification.idle_channels import SimplifyDecision
from onnxslim.simplification.step import simplify
from onnxslim.validation.latency import MIN_SPEED_RATIO

logger = logging.getLogger(__name__)

#: Of the seconds that are given, those that one form is timed for.
_TIMING_SHARE = 0.1
#: By how much the speed has to rise before a rewrite is blamed: less is the clock's.
_MIN_RISE = 0.02

T = TypeVar("T")


def find_slow_rewrites(task: CompressionTask, speed: float, seconds: float) -> tuple[str, ...]:
    """The rewrites to leave out so that the simplified original is as fast as the original.

    Args:
        task: Whose original is simplified, and where it runs.
        speed: How many times faster the simplified original was with all of them, which is too little.
        seconds: After which the search ends with what it has.

    Returns:
        ``SimplifyOptions.leave_out``; empty where the model is slow without any of them too, or no time is given.
    """
    deadline = time.monotonic() + seconds
    enough = max(MIN_SPEED_RATIO, speed + _MIN_RISE)
    decision = simplify(task.original, kept_inputs=list_input_names(task.original))[1].decision
    rewrites = list(dict.fromkeys(decision.rewrites)) if isinstance(decision, SimplifyDecision) else []
    by_rule: dict[str, list[str]] = {}
    for rewrite in rewrites:
        by_rule.setdefault(rewrite.partition(" at ")[0], []).append(rewrite)

    def is_fast_without(left_out: Sequence[str]) -> bool:
        ratio = _time_without(task, left_out, _TIMING_SHARE * seconds)
        logger.info("without %s: %.3f times the original's speed", ", ".join(left_out), ratio)
        return ratio >= enough

    if not rewrites or not is_fast_without(rewrites):
        return ()
    rules = narrow_down(
        list(by_rule.values()),
        lambda groups: is_fast_without([rewrite for group in groups for rewrite in group]),
        lambda: time.monotonic() < deadline,
    )
    blamed = [rewrite for group in rules for rewrite in group]
    return tuple(narrow_down(blamed, is_fast_without, lambda: time.monotonic() < deadline))


def narrow_down(items: list[T], suffices: Callable[[list[T]], bool], may_go_on: Callable[[], bool]) -> list[T]:
    """A small part of ``items`` that ``suffices``, as all of them do; if the time lasts, without any item it would not.

    Args:
        items: In order.
        suffices: Asked of parts of them, in order.
        may_go_on: Asked before each question.
    """
    parts = 2
    while len(items) > 1:
        size = -(-len(items) // parts)
        chunks = [items[start : start + size] for start in range(0, len(items), size)]
        complements = [[item for other in chunks if other is not chunk for item in other] for chunk in chunks]
        for candidate in [*chunks, *(complements if len(chunks) > 2 else [])]:
            if not may_go_on():
                return items
            if suffices(candidate):
                parts = 2 if len(candidate) <= size else max(2, parts - 1)
                items = candidate
                break
        else:
            if size == 1:
                return items
            parts = min(len(items), 2 * parts)
    return items


def _time_without(task: CompressionTask, left_out: Sequence[str], seconds: float) -> float:
    """How many times faster than the original the simplified one is without the rewrites ``left_out``."""
    recipe = Recipe((make_step("simplify", leave_out=tuple(left_out)),))
    attempt = Attempt(dataclasses.replace(task, step_cache={}), recipe)
    attempt.apply()
    attempt.measure_ends(seconds)
    latency = attempt.result.latency
    return 0.0 if latency is None else float(latency["ratio"])
