"""Receipts as ``verify`` writes them, as far as choosing reads them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_receipt(
    candidate: Path, original: Path, verdict: str = "pass", *, data_files: tuple[Path, ...] = (), **more: Any
) -> Path:
    """The receipt of ``candidate`` beside it; ``more`` are keys of it."""
    files = {path.name: digest(path) for path in (candidate, *data_files)}
    receipt = {
        "schema": 1,
        "verdict": verdict,
        "candidate": {"path": str(candidate), "files": files},
        "original": {"path": str(original), "files": {original.name: digest(original)}},
        "settings": {"max_drop": "1%"},
        **more,
    }
    path = candidate.with_suffix(".json")
    path.write_text(json.dumps({"receipt": receipt}))
    return path
