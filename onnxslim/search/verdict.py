"""What became of each trial, and what the whole search came to, in words for people: a line each."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnxslim.core.errors import NothingGainedError, TimeLimitError, UnsupportedError
from onnxslim.reporting import text
from onnxslim.search.candidate import ACTIVATION_SCHEMES, MIN_GAIN
from onnxslim.search.trial import LARGER, SLOWER, Trial, discount_ratio

#: Letters of a line about one trial.
MAX_LINE_LENGTH = 120
#: Other samples may drop a little more than those that the trial was judged on.
_DROP_MARGIN = 1.1
#: What drops more than so many times what is allowed is nothing that whoever set the gate would accept.
_MAX_DROP_FACTOR = 10.0


def describe_verdict(trial: Trial, chosen: Trial | None) -> str:
    """Why ``trial`` was written, or was not; at most :data:`MAX_LINE_LENGTH` letters."""
    if trial is chosen:
        return "chosen"
    if trial.error is not None:
        prefix = "" if isinstance(trial.cause, (UnsupportedError, NothingGainedError, TimeLimitError)) else "failed: "
        return text.shorten(prefix + text.clean(trial.error), MAX_LINE_LENGTH)
    return text.shorten(trial.refusal or "; ".join(_list_reasons(trial)) or _describe_pass(trial, chosen), MAX_LINE_LENGTH)


def _describe_pass(trial: Trial, chosen: Trial | None) -> str:
    """What keeps ``trial``, which passed on tune, from being written, although the confirm data did not refuse it."""
    if chosen is not None and trial.score <= chosen.score:
        return f"passed on tune; {chosen.candidate.name} gains more"
    return "passed on tune; not shown the confirm data"


def describe_gain(trial: Trial) -> str:
    """How much faster and smaller ``trial`` is: ``1.8 times faster, 3.9 times smaller``."""
    latency = trial.attempt.result.latency
    # what no clock can tell from nothing is not said
    is_told = latency is not None and abs(discount_ratio(latency) - 1) > MIN_GAIN - 1
    parts = [_describe_factor(latency["ratio"], "faster", "slower")] if is_told and latency is not None else []
    parts += [] if math.isnan(trial.shrinkage) else [_describe_factor(trial.shrinkage, "smaller", "larger")]
    return ", ".join(filter(None, parts)) or "no faster, no smaller"


def describe_search(trials: Sequence[Trial]) -> str:
    """What came nearest where nothing was gained, and what would accept it."""
    lossy = [t for t in trials if t.error is None and not t.missed_gates and t.gains and not (t.passes and not t.refusal)]
    nearest = min((t for t in lossy if math.isfinite(t.known_drop)), key=lambda t: t.known_drop, default=None)
    if nearest is not None:
        accepted = suggest_max_drop(nearest)
        advice = "" if accepted is None else f": --max-drop {accepted} accepts that"
        return f"nearest: {nearest.candidate.name}, {describe_gain(nearest)}, {nearest.loss[0]}{advice}"
    finished = [t for t in trials if t.error is None and t.gains]
    if not finished:
        return "nothing that was tried is faster or smaller"
    best = max(finished, key=lambda t: t.score)
    return f"nearest: {best.candidate.name}, {describe_gain(best)}: {best.refusal or '; '.join(_list_reasons(best))}"


def suggest_max_drop(trial: Trial) -> str | None:
    """The ``--max-drop`` that takes ``trial``; None where it is far from what was asked, or already within it."""
    limit = trial.attempt.recipe.gates.max_drop or 0.0
    if not trial.metric_is_share or not 0 < trial.known_drop <= _MAX_DROP_FACTOR * limit:
        return None
    tenths = math.ceil(1000 * max(_DROP_MARGIN * trial.known_drop, trial.drop) - 1e-9)
    return f"{tenths / 10:g}%" if tenths < 1000 else None


def _list_reasons(trial: Trial) -> list[str]:
    """What keeps ``trial`` from being written, as far as its own figures tell."""
    latency = trial.attempt.result.latency
    reasons = []
    for line in trial.missed_gates:
        if line == SLOWER and latency is not None:
            reasons.append(f"slower here: {latency['ratio']:.2f} times the original's speed")
        else:
            reasons.append(line)
    limit = trial.attempt.recipe.gates.max_drop
    if limit is not None and trial.drop > limit:
        reasons.append("; ".join(trial.loss))
    if LARGER not in trial.missed_gates and not trial.gains:
        reasons.append("neither faster nor smaller than the original")
    elif trial.candidate.scheme in ACTIVATION_SCHEMES and SLOWER not in trial.missed_gates and trial.speedup < MIN_GAIN:
        reasons.append(f"{trial.candidate.name} gains no time here")
    return reasons


def _describe_factor(ratio: float, more: str, less: str) -> str:
    if f"{ratio:.2f}" == "1.00":
        return ""
    digits = text.format_digits(max(ratio, 1 / ratio), 3 if ratio < 1 or ratio >= 10 else 2)
    return f"{digits} times {more if ratio > 1 else less}"
