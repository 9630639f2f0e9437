"""The sizes that weights in a format each could have, what they are expected to lose, and what a step takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from onnxslim.reporting import text


def describe_storage(report: Mapping[str, Any], *, explain: bool = False) -> Iterator[str]:
    """A line for each point of the front that was shown, the one that was taken marked.

    Args:
        report: See :mod:`onnxslim.reporting`.
        explain: Also tell which formats the installed runtime has kernels for.
    """
    for step in report.get("steps") or []:
        details = step.get("details") or {}
        for point in details.get("storage") or []:
            kept = "nothing lost" if not point["loss"] else f"{-10 * math.log10(point['loss']):.1f} dB expected"
            seconds = f", {text.format_milliseconds(point['ms'])} a run" if "ms" in point else ""
            mark = " (taken)" if point["chosen"] else ""
            yield f"weights by bits: {text.format_size(point['bytes'])}, {kept}{seconds}{mark}"
        if explain and details.get("kernels"):
            yield f"formats that this runtime has kernels for: {', '.join(map(text.clean, details['kernels']))}"
