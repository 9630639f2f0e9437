"""A state that is fed back, small enough to be checked by hand: a leaky sum over frames of three numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxslim.data.states.feedback import StateFeedback

PAIRS = {"next": "state"}


def step(feeds: Mapping[str, Any]) -> dict[str, Any]:
    """A leaky sum: next = state / 2 + the sum of x, along the state's own batch axis."""
    return {"next": feeds["state"] / 2 + feeds["x"].sum(axis=1)[None, :, None], "y": feeds["x"]}


HOW = StateFeedback(PAIRS, ["y", "next"], step)


def frames(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(len(lengths))
    return [rng.standard_normal((n, 3)).astype(np.float32) for n in lengths]
