"""A counter of joules that knows what every run takes."""

from __future__ import annotations


class PerRun:
    """A counter that every look advances by a joule, whoever runs: as many inferences, as many times less for each."""

    source = "a test"

    def __init__(self) -> None:
        self.now = 0.0

    def joules(self) -> float:
        self.now += 1.0
        return self.now
