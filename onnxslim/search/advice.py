"""What a search could have given had the gate asked for less: told where nothing but the exact steps passed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnxslim.search.trial import Trial

#: Other samples may drop a little more than those that the trial was judged on.
_DROP_MARGIN = 1.1
#: What drops more than so many times what is allowed is nothing that whoever set the gate would accept.
_MAX_DROP_FACTOR = 10.0


def suggest_max_drop(trials: Sequence[Trial], chosen: Trial) -> str | None:
    """One line about the gentlest of ``trials`` that dropped too much; None where ``chosen``, the one that was written,
    gained something, or none could.
    """
    if chosen.candidate.scheme or chosen.candidate.pruning_ratio:
        return None
    max_drop = chosen.attempt.recipe.gates.max_drop or 0.0
    better = [t for t in trials if t.error is None and not t.missed_gates and t.score > chosen.score]
    nearest = min(
        (t for t in better if max_drop < t.drop <= _MAX_DROP_FACTOR * max_drop), key=lambda t: t.drop, default=None
    )
    if nearest is None:
        return None
    entry = nearest.as_json()
    smaller = nearest.attempt.task.original_facts.bytes / entry["bytes"]
    dropped, accepted = f"{nearest.drop:.2g}", f"{_DROP_MARGIN * nearest.drop:.2g}"
    if nearest.metric_is_share:
        dropped, accepted = f"{100 * nearest.drop:.2g} %", f"{math.ceil(100 * _DROP_MARGIN * nearest.drop)}%"
    return (
        f"{nearest.candidate.name} is {entry['speedup']:.2f} times faster and {smaller:.2f} times smaller, and drops "
        f"{nearest.metric} by {dropped}: --max-drop {accepted} accepts that, --metric judges by something else"
    )
