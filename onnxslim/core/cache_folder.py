"""Where files are kept between commands: the user's cache."""

from __future__ import annotations

import os
from pathlib import Path


def get_cache_folder() -> Path:
    """``onnxslim`` in ``$XDG_CACHE_HOME``, else in ``~/.cache``; it need not exist."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache) / "onnxslim"
