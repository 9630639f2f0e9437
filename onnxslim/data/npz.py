"""An ``.npz`` file of arrays by input name, or an ``.npy`` file for a model with one input."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from onnxslim.data.arrayfiles import open_npy, open_npz
from onnxslim.data.request import Found, Request

SUFFIXES = (".npz", ".npy")


def accepts(source: Any) -> bool:
    """A path that ends like one."""
    return isinstance(source, (str, os.PathLike)) and os.fspath(source).lower().endswith(SUFFIXES)


def read(request: Request) -> Found:
    """The arrays, each a column that is streamed from the file.

    Raises:
        UsageError: No such file.
        InvalidDataError: A broken file, or pickled arrays.
    """
    path = Path(request.source)
    if path.suffix.lower() == ".npz":
        return Found({**open_npz(path)}, str(request.source))
    return Found({request.single.name: open_npy(path)}, str(request.source))
