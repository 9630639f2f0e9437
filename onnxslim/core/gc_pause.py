"""Python's collector of cycles, while a large graph is built.

It walks all objects again whenever their number has grown by a quarter, and a graph is nothing but cycles that stay: with
20 000 nodes that is a quarter of the time of loading. What is not part of a cycle is freed at once as ever.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def pause_gc() -> Iterator[None]:
    """No collection of cycles inside the block, which should make objects that stay; nothing changes where it was off."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
