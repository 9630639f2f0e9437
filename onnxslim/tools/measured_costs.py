"""What ``onnxslim doctor`` measured on this machine, kept for ``onnxslim inspect``: one small file in the user's cache."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from onnxslim.core.cpu_info import describe_cpu
from onnxslim.model_io.atomic_write import open_draft
from onnxslim.runtime.session_config import version


def get_path() -> Path:
    """Where the figures are: ``onnxslim/doctor.json`` in ``$XDG_CACHE_HOME``, else in ``~/.cache``."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache) / "onnxslim" / "doctor.json"


def keep_costs(costs: Mapping[str, float]) -> Path | None:
    """Write ``costs``, times longer by form, with the machine they were measured on; None where that cannot be written."""
    path = get_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_draft(str(path.parent)) as draft:
            draft.write(json.dumps({"machine": _describe_machine(), "costs": dict(costs)}).encode())
            draft.publish(str(path))
    except OSError:
        return None
    return path


def read_costs() -> dict[str, float]:
    """What was measured with this CPU and this runtime; nothing where nobody did."""
    try:
        found = json.loads(get_path().read_text(encoding="utf-8"))
        if found["machine"] != _describe_machine():
            return {}
        return {str(form): float(factor) for form, factor in found["costs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _describe_machine() -> dict[str, str]:
    return {**describe_cpu(), "onnxruntime": version()}
