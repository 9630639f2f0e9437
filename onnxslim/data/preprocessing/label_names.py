"""Names of classes as the model beside them counts them: ``label2id`` of its ``config.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.columns import Array


def number_labels(names: Sequence[str], folder: str | None) -> Array | None:
    """The class of each of ``names``, int64, where the configuration in ``folder`` knows all of them; else None.

    Raises:
        InvalidDataError: The configuration is no JSON.
    """
    path = None if folder is None else Path(folder, "config.json")
    if path is None or not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidDataError(f"{path}: not JSON: {error}") from error
    numbers = _read_numbers(config if isinstance(config, dict) else {})
    if not names or any(name not in numbers for name in names):
        return None
    return np.array([numbers[name] for name in names], np.int64)


def _read_numbers(config: dict[str, object]) -> dict[str, int]:
    """Number by name, from either direction that configurations write it in; training scripts write numbers as text."""
    by_name, by_number = config.get("label2id"), config.get("id2label")
    pairs = list(by_name.items()) if isinstance(by_name, dict) else []
    if not pairs and isinstance(by_number, dict):
        pairs = [(name, number) for number, name in by_number.items()]
    return {str(name): int(number) for name, number in pairs if re.fullmatch("[0-9]{1,9}", str(number))}
