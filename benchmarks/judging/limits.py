"""What a user still accepts, by the figure that a judge gives, and what a sweep comes to against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: Figure of a judge → the least (">=") or the most ("<=") that its user accepts. Shares, decibels, pixels as they are named.
LIMITS: dict[str, tuple[str, float]] = {
    "top1_drop": ("<=", 0.01),
    "character_drop": ("<=", 0.01),
    "agreement": (">=", 0.98),
    "box_f1_0.5": (">=", 0.98),
    "box_f1_0.75": (">=", 0.95),
    "ap_kept": (">=", 0.985),
    "iou_mean": (">=", 0.98),
    "similarity_spearman": (">=", 0.99),
    "nearest_kept": (">=", 0.9),
    "kl": ("<=", 0.01),
    "spearman": (">=", 0.99),
    "psnr_mean": (">=", 35.0),
    "snr_db": (">=", 20.0),
    "within_50_cents": (">=", 0.98),
    "f1": (">=", 0.99),
    "text_same": (">=", 0.98),
    "moved_px_mean": ("<=", 1.0),
    "error_px": ("<=", 1.0),
}
#: The same tokens, where there are no labels to count them by.
_TOKENS_SAME = 0.98
#: A mean error as a share of the spread of what is predicted; by the names of the error.
_SPREAD_SHARE = {"mae": 0.05, "mae_of_range": 0.05}

#: Faster or smaller by this much is worth having.
FASTER, SMALLER = 1.3, 3.0
#: Slower than this is slower: nearer to 1 the clock decides.
SLOWER = 0.98
#: Products of speed and size may be of different runs: so much less is less.
_WORSE = 0.95
#: What is called a small model, and the memory that it may cost, in bytes.
_SMALL_MODEL, MAX_MEMORY = 20_000_000, 1_200_000_000

Row = Mapping[str, Any]


def find_broken(figures: Mapping[str, Any]) -> list[str]:
    """The limits that a judge's figures break, in words; a figure that is None was not to be had and breaks none."""
    broken = []
    for name, value in figures.items():
        values = [each for each in (value if isinstance(value, list) else [value]) if each is not None]
        if name in LIMITS:
            sign, limit = LIMITS[name]
            kept = all(each >= limit for each in values) if sign == ">=" else all(each <= limit + 1e-9 for each in values)
            if not kept:
                broken.append(f"{name} {value}")
        elif name == "top1_same" and "top1_drop" not in figures and values and values[0] < _TOKENS_SAME:
            broken.append(f"{name} {value}")
        elif name in _SPREAD_SHARE:
            spreads = figures["spread"] if isinstance(value, list) else [figures["spread"]]
            shares = [error / max(spread, 1e-12) for error, spread in zip(values, spreads, strict=True)]
            if max(shares) > _SPREAD_SHARE[name]:
                broken.append(f"{name} {max(shares):.1%} of the spread")
    return broken


def is_kept(row: Row) -> bool | None:
    """Whether the file that ``row`` tells of keeps what its user judges by; None where nothing was written or judged."""
    seen = row.get("verified") or {}
    if seen.get("identical"):
        return True
    figures = seen.get("natural")
    if not figures or "error" in figures:
        return None
    return not find_broken(figures)


def get_gain(row: Row) -> tuple[float, float]:
    """Times faster, times smaller; where nothing was written the original stays."""
    seen = row.get("verified") or {}
    return float(seen.get("speed_ratio", 1.0)), float(seen.get("size_ratio", 1.0))


def find_best_by_hand(rows: Iterable[Row], name: str, tool: str) -> Row | None:
    """Of the recipes other than ``tool`` for the model ``name``, the one that gains most of those that keep the limit."""
    kept = [row for row in rows if row["name"] == name and row["tool"] != tool and is_kept(row)]
    return max(kept, key=_value, default=None)


def _value(row: Row) -> float:
    speed, size = get_gain(row)
    return speed * size if row.get("verified") and is_kept(row) is not False else 1.0


def time_beside(row: Row, by_hand: Row | None) -> Row | None:
    """``by_hand`` with the speed that it had in turn with ``row``, where the two were timed so; else as it is."""
    beside = row.get("beside_hand") or {}
    if by_hand is None or beside.get("tool") != by_hand["tool"]:
        return by_hand
    return {**by_hand, "verified": by_hand["verified"] | {"speed_ratio": get_gain(row)[0] / beside["speed_ratio"]}}


def is_worse(row: Row, by_hand: Row | None) -> bool:
    """Whether a recipe by hand gains more (speed times size) within the limit than ``row``."""
    timed = time_beside(row, by_hand)
    return timed is not None and _value(row) < _WORSE * max(1.0, _value(timed))


def is_over_time(row: Row) -> bool:
    """Whether the command took more than 1.15 times its budget and 10 seconds."""
    return bool(row["wall_s"] > 1.15 * row["budget_s"] + 10)


def is_over_memory(row: Row) -> bool:
    """Whether a model of at most 20 MB took more than 1.2 GB."""
    return bool(row["model_bytes"] <= _SMALL_MODEL and row["peak_bytes"] > MAX_MEMORY)


def summarize(rows: Iterable[Row], tool: str) -> list[tuple[str, str]]:
    """(What is asked, what was reached) over the rows of ``tool``; names follow where a count should be none."""
    every = list(rows)
    own = [row for row in every if row["tool"] == tool]
    gains = {row["name"]: get_gain(row) for row in own}
    kept = {row["name"] for row in own if is_kept(row)}
    fast = [name for name in kept if gains[name][0] >= FASTER]
    either = [name for name in kept if gains[name][0] >= FASTER or gains[name][1] >= SMALLER]
    lists = {
        f"slower than {SLOWER} × or larger": [n for n, (speed, size) in gains.items() if speed < SLOWER or size < 1],
        "natural limit broken": [row["name"] for row in own if is_kept(row) is False],
        "written, and not judged": [row["name"] for row in own if row.get("verified") and is_kept(row) is None],
        "refused though onnxruntime runs it": [row["name"] for row in own if row["exit"] and row.get("runs")],
        "worse than the best recipe by hand": [
            row["name"] for row in own if is_worse(row, find_best_by_hand(every, row["name"], tool))
        ],
        "over 1.15 × budget + 10 s": [row["name"] for row in own if is_over_time(row)],
        "over 1.2 GB for 20 MB or less": [row["name"] for row in own if is_over_memory(row)],
    }
    total = max(1, len(own))
    shares = [(f"≥ {FASTER} × faster or ≥ {SMALLER:g} × smaller", either), (f"≥ {FASTER} × faster", fast)]
    return [
        *((f"{what}, limit kept", f"{len(names) / total:.0%} ({len(names)} of {len(own)})") for what, names in shares),
        *((what, f"{len(names)}{': ' if names else ''}{', '.join(sorted(names))}") for what, names in lists.items()),
    ]
