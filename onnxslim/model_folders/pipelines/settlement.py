"""Which parts of a pipeline are as small as they can be, and which have to be milder for the text to be kept.

Every part is right by itself, and the next one may still read it wrongly. So the results are judged together, and where
that does not pass, a part is made anew by a milder rung of a ladder, whose last is exact: the encoder before the decoder,
one rung before two, as long as there is time: without a deadline as long as making the parts took, and some minutes.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onnxslim.core.deadline import NO_TIME_LEFT, seconds_left
from onnxslim.model_folders.folder_report import MemberOutcome, Work
from onnxslim.model_folders.layouts.layout import FolderModel
from onnxslim.model_folders.pipelines.composition import Composition, JudgedComposition
from onnxslim.runtime.session import Session
from onnxslim.runtime.session_config import SessionConfig
from onnxslim.validation.gates import Gates, find_gate_failures

#: Without a deadline there is so much time at least: what small models come to is not up to the clock.
_MIN_SECONDS = 300.0
#: (member, work) -> what became of it.
Redo = Callable[[FolderModel, Work], MemberOutcome]


@dataclass(frozen=True)
class Rung:
    """A milder way to make a part: its name for people, and the work."""

    name: str
    work: Work


class Settlement:
    """The parts of one pipeline, judged together once they are made.

    Args:
        composition: What is judged, and on what.
        originals: Sessions of the originals, by path.
        gates: What the tokens must keep; without any nothing steps down.
        ladder: From the milder to the mildest.
        config: Where sessions run.
        deadline: On ``time.monotonic``'s clock: behind it what does not pass goes to the mildest rung at once. None: one by
            how long the parts took.
    """

    def __init__(
        self, composition: Composition, originals: Mapping[str, Session], gates: Gates, ladder: Sequence[Rung],
        config: SessionConfig, deadline: float | None = None,
    ) -> None:  # fmt: skip
        self._composition, self._originals, self._ladder, self._config = composition, originals, ladder, config
        self._deadline = deadline
        self._gates = Gates(max_drop=gates.max_drop, min_agreement=gates.min_agreement, strict=gates.strict)
        #: What the parts that were chosen came to.
        self.judged = JudgedComposition(composition)
        self._stepped_down: list[dict[str, str]] = []

    @property
    def members(self) -> tuple[FolderModel, ...]:
        """What is settled."""
        return self._composition.pipeline.members

    def settle(self, outcomes: Mapping[str, MemberOutcome], redo: Redo, seconds: float) -> dict[str, MemberOutcome]:
        """``outcomes`` of the members, by path, with those in place that had to be milder; nothing of it is written yet.

        Args:
            outcomes: What came of the members.
            redo: Makes one by a milder rung.
            seconds: How long it took to make them.
        """
        deadline = self._deadline
        if deadline is None:
            deadline = time.monotonic() + max(_MIN_SECONDS, seconds)
        made = {(path, 0): outcome for path, outcome in outcomes.items()}
        first_missed, seen, sessions = list[str](), set[tuple[int, ...]](), dict[int, Session]()
        *some, mildest = _list_levels(len(self._ladder) + 1)
        is_late = False
        for levels in (*some, mildest):
            is_late = is_late or bool(first_missed and levels != mildest and seconds_left(deadline) <= 0)
            if is_late and levels != mildest:
                continue
            chosen = {
                member.path: self._make(member, self._get_level(member, levels), made, redo) for member in self.members
            }
            key = tuple(id(outcome) for outcome in chosen.values())
            if key in seen:
                continue
            seen.add(key)
            missed = self._judge(chosen, sessions)
            if not missed:
                break
            first_missed = first_missed or missed
        if is_late:
            first_missed = [f"{line}; {NO_TIME_LEFT} for less" for line in first_missed]
        return {**outcomes, **self._explain(chosen, outcomes, levels, first_missed)}

    def as_json(self) -> dict[str, Any]:
        """For the report: what was judged, and who stepped down."""
        return {**self.judged.as_json(), "stepped_down": self._stepped_down}

    def _get_level(self, member: FolderModel, levels: tuple[int, int]) -> int:
        return levels[0 if member == self._composition.pipeline.encoder else 1]

    def _make(
        self, member: FolderModel, level: int, made: dict[tuple[str, int], MemberOutcome], redo: Redo
    ) -> MemberOutcome:
        """What became of ``member`` at ``level``; the original, and what is exact already, cannot be milder."""
        first = made[member.path, 0]
        if first.fate != "compressed" or first.why is not None:
            return first
        if (member.path, level) not in made:
            made[member.path, level] = redo(member, self._ladder[level - 1].work)
        return made[member.path, level]

    def _judge(self, chosen: Mapping[str, MemberOutcome], sessions: dict[int, Session]) -> list[str]:
        """One line for everything that the parts together do not keep; ``sessions`` are those open, by the outcome's id."""

        def open_sessions() -> dict[str, Session]:
            for outcome in chosen.values():
                if id(outcome) not in sessions:
                    sessions[id(outcome)] = self._open(outcome)
            return {path: sessions[id(one)] for path, one in chosen.items()}

        self.judged = self._composition.judge(open_sessions)
        if self.judged.error is not None:
            return [self.judged.error]
        return [line for one in self.judged.evaluations for line in find_gate_failures(self._gates, one)]

    def _open(self, outcome: MemberOutcome) -> Session:
        model = outcome.result.model if outcome.fate == "compressed" and outcome.result is not None else None
        return self._originals[outcome.member.path] if model is None else Session(model, self._config)

    def _explain(
        self, chosen: dict[str, MemberOutcome], outcomes: Mapping[str, MemberOutcome], levels: tuple[int, int],
        missed: Sequence[str],
    ) -> dict[str, MemberOutcome]:  # fmt: skip
        """``chosen``, where it says of what stepped down to what, and why."""
        explained = {}
        for member in self.members:
            outcome = chosen[member.path]
            if outcome is not outcomes[member.path]:
                rung = self._ladder[self._get_level(member, levels) - 1].name
                self._stepped_down.append({"path": member.path, "to": rung, "why": missed[0]})
                outcome = replace(
                    outcome, why=f"{rung}: as it was, encoder and decoder together lost too much ({missed[0]})"
                )
            explained[member.path] = outcome
        return explained


def _list_levels(count: int) -> list[tuple[int, int]]:
    """Rungs of encoder and decoders, the fewest first, and of as many the encoder's."""
    return sorted(itertools.product(range(count), range(count)), key=lambda levels: (sum(levels), levels[1]))
