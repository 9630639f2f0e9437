"""How a state goes on from one step to the next, wherever a model is run in steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def advance_state(pairs: Mapping[str, str], state: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The state after a step that gave ``outputs``.

    What comes back without elements although something went in has not been computed: decoders give their cross-attention
    caches in the first step alone, and those stay as they are.

    Args:
        pairs: Output → the input it is fed back to.
        state: What the step was fed with, by input.
        outputs: What it gave, by output.

    Returns:
        By input.
    """
    after = {}
    for output, input_name in pairs.items():
        before = state.get(input_name)
        stays = np.size(outputs[output]) == 0 and before is not None and np.size(before) > 0
        after[input_name] = before if stays else outputs[output]
    return after
