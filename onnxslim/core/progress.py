"""How the library tells a caller how far it is, without printing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as ``progress(stage, done, total)``; ``total`` is 0 when it is not known."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def ignore_progress(stage: str, done: int, total: int) -> None:
    """The default: say nothing."""
