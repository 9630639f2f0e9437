"""What ``onnxslim doctor`` measured on a machine, kept for ``onnxslim inspect``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from onnxslim.runtime.devices.machine_figures import identify_machine, keep_figures, read_figures

#: Of these figures, in the user's cache.
KIND = "doctor"


def keep_costs(costs: Mapping[str, float]) -> Path | None:
    """Write ``costs``, times longer by form, with the machine they were measured on; None where that cannot be written."""
    return keep_figures(KIND, identify_machine(), dict(costs))


def read_costs() -> dict[str, float]:
    """What was measured with this CPU and this runtime; nothing where nobody did."""
    try:
        return {str(form): float(factor) for form, factor in dict(read_figures(KIND, identify_machine()) or {}).items()}
    except (ValueError, TypeError):
        return {}
