"""The report every step gives: what it changed, what it skipped and why, how long it took.

A step is a function ``(model, …) -> (model, StepReport)``. It never changes the model it was given.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from onnxslim.core.converter import JSON

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Skipped:
    """One thing a step could have done and did not.

    Attributes:
        node: The node, tensor or channel unit by name.
        reason: Why, in one clause a person can act on.
    """

    node: str
    reason: str


@dataclass
class StepReport:
    """What one step did.

    Attributes:
        name: The step, e.g. ``"simplify"``.
        seconds: Wall time.
        changed: Counts by kind of change, e.g. ``{"folded": 12}``; empty when the step changed nothing.
        skipped: What was left alone and why.
        warnings: One-line cautions for the person who reads the report.
        details: JSON-serialisable tables for ``--explain`` and the report, by name; written, never read back.
        decision: What the step decided, for whoever carries on from it: a ``QuantizeDecision``, ``PruneDecision`` or
            ``RecoverDecision``; not part of the JSON.
    """

    name: str
    seconds: float = 0.0
    changed: dict[str, int | float | str] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list, metadata={"key": "declined"})
    warnings: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    decision: Any = field(default=None, init=False)

    def count(self, what: str, n: int = 1) -> None:
        """Add ``n`` to the count of ``what``; adding nothing leaves no entry behind."""
        if n:
            self.changed[what] = int(self.changed.get(what, 0)) + n

    def add(self, part: StepReport) -> None:
        """Take over what a part of the step counted, skipped, warned of and detailed; lists of one name are joined."""
        for what, n in part.changed.items():
            self.changed[what] = n if isinstance(n, str) else int(self.changed.get(what, 0)) + int(n)
        self.skipped += part.skipped
        self.warnings += part.warnings
        for name, table in part.details.items():
            self.details[name] = [*self.details.get(name, []), *table] if isinstance(table, list) else table

    def skip(self, node: str, reason: str) -> None:
        """Record that ``node`` was left alone because of ``reason``."""
        self.skipped.append(Skipped(node, reason))

    @contextmanager
    def timed(self) -> Iterator[StepReport]:
        """Add the wall time of the block to ``seconds``."""
        start = time.perf_counter()
        try:
            yield self
        finally:
            self.seconds += time.perf_counter() - start

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the wall time of the block to ``details["seconds"][name]``, the breakdown of a long step."""
        start, parts = time.perf_counter(), self.details.setdefault("seconds", {})
        try:
            yield
        finally:
            taken = time.perf_counter() - start
            parts[name] = round(parts.get(name, 0.0) + taken, 3)
            logger.info("%s: %s took %.1f s", self.name, name, taken)

    def as_json(self) -> dict[str, Any]:
        """The ``steps`` entry of the JSON contract."""
        return {**JSON.unstructure(self), "seconds": round(self.seconds, 3)}
