"""What a device is asked, in the terms of its messages, and whether its answer is one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from onnxslim.runtime.devices.device import Feed
from onnxslim.runtime.devices.messages import ProtocolError, pack_arrays
from onnxslim.runtime.session_config import SessionConfig


def check_times(found: Mapping[str, np.ndarray], names: Iterable[str]) -> dict[str, np.ndarray]:
    """The times of ``names``, shape (rounds,) each.

    Raises:
        ProtocolError: Some are no times, or not of as many rounds.
    """
    times = {name: found[name] for name in names}
    shapes = {array.shape for array in times.values()}
    if len(shapes) != 1 or not all(array.dtype.kind == "f" and array.ndim == 1 and array.size for array in times.values()):
        raise ProtocolError("no times")
    if not all(bool(np.all(np.isfinite(array) & (array > 0))) for array in times.values()):
        raise ProtocolError("times that are none")
    return times


def write_config(config: SessionConfig) -> dict[str, Any]:
    """``config`` as a header says it."""
    return {
        "provider": config.provider,
        "threads": config.threads,
        "optimize": config.optimize,
        "is_lean": config.is_lean,
        "session_options": dict(config.session_options),
        "provider_options": dict(config.provider_options),
        "custom_ops": list(config.custom_ops),
    }


def pack_feeds(feeds: Sequence[Feed]) -> tuple[list[list[dict[str, Any]]], list[bytes]]:
    """``feeds`` as a header describes them, and their bytes one after another."""
    packed = [pack_arrays(feed) for feed in feeds]
    return [described for described, _ in packed], list(itertools.chain.from_iterable(blobs for _, blobs in packed))
