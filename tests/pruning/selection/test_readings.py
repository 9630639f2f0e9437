"""What is kept where readings scatter: as little as surely is enough, whatever the noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from onnxslim.pruning.selection.readings import MAX_READINGS_IN_ALL, KeptCut, Reading, Readings, find_least_cut

TOLERANCE = 1.03


@dataclass
class Machine:
    """Cuts come in steps, and really save another share than was estimated; readings of what they leave scatter.

    Attributes:
        rng: What readings scatter by.
        noise: Standard deviation of one reading, as a share.
        told: Which part of it the reading itself tells.
        step: What a step was estimated to save.
        real: Which part of that it saves.
    """

    rng: np.random.Generator
    noise: float
    told: float = 1.0
    step: float = 0.01
    real: float = 0.9
    proposed: list[int] = field(default_factory=list)
    read_count: int = 0

    def leave(self, steps: int) -> float:
        return max(1 - steps * self.step * self.real, 0.05)

    def propose(self, saving: float) -> tuple[str, int] | None:
        if saving > 1.5:
            return None
        self.proposed.append(math.ceil(saving / self.step - 1e-9))
        return str(self.proposed[-1]), self.proposed[-1]

    def read(self, steps: int) -> Reading:
        self.read_count += 1
        amount = self.leave(steps) * math.exp(self.noise * self.rng.standard_normal())
        return Reading(amount, self.told * self.noise * amount)

    def find(self, limit: float, *, may_repeat: bool = True) -> KeptCut[int] | None:
        repeat = lambda: may_repeat  # noqa: E731
        return find_least_cut(self.propose, self.read, limit, whole=0, tolerance=TOLERANCE, may_repeat=repeat)


@pytest.mark.parametrize("told", [1.0, 0.3], ids=["told", "mostly untold"])
@pytest.mark.parametrize(("noise", "excess"), [(0.005, 1.02), (0.02, 1.03), (0.05, 1.05)])
@pytest.mark.parametrize("speedup", [1.3, 1.7, 2.5])
def test_noise_neither_breaks_what_was_asked_nor_takes_much_more(
    speedup: float, noise: float, excess: float, told: float
) -> None:
    found = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        machine = Machine(rng, noise, told, step=rng.uniform(0.002, 0.01), real=rng.uniform(0.7, 1.1))
        kept = machine.find(1 / speedup)
        assert kept is not None
        assert machine.read_count <= MAX_READINGS_IN_ALL + 12
        found.append(1 / machine.leave(kept.cut) / speedup)
    assert np.mean(np.array(found) >= 1) >= 0.95
    assert np.median(found) <= excess + 0.03 * (speedup - 1)


def test_a_cut_that_was_lucky_once_is_not_kept() -> None:
    amounts = {"whole": iter([1.0] * 99), "lucky": iter([0.75, *[0.85] * 99]), "enough": iter([0.7] * 99)}
    kept = find_least_cut(
        lambda saving: ("a", "lucky") if saving < 0.3 else ("b", "enough"),
        lambda cut: Reading(next(amounts[cut]), 0.01),
        0.8,
        whole="whole",
        tolerance=TOLERANCE,
    )
    assert kept is not None
    assert kept.cut == "enough"


@pytest.mark.parametrize("limit", [0.9, 0.62, 0.3])
def test_what_is_exact_is_met_by_hardly_more_than_the_least_step(limit: float) -> None:
    machine = Machine(np.random.default_rng(0), 0.0)
    kept = machine.find(limit)
    assert kept is not None
    assert kept.is_sure
    assert kept.bounds == (machine.leave(kept.cut),) * 2
    assert machine.read_count == 1 + len(set(machine.proposed))
    least = (1 - limit) / (machine.step * machine.real)
    assert least <= kept.cut + 1e-9 <= TOLERANCE * least + 1


def test_nothing_is_cut_where_that_is_surely_enough() -> None:
    kept = Machine(np.random.default_rng(0), 0.01).find(1.2)
    assert kept is not None
    assert kept.cut == 0


def test_what_cannot_be_met_is_not_found() -> None:
    assert Machine(np.random.default_rng(0), 0.01).find(0.02) is None


def test_without_time_to_read_again_more_is_taken_to_be_sure() -> None:
    limit, hurried = 0.7, [Machine(np.random.default_rng(seed), 0.02) for seed in range(60)]
    kept = [machine.find(limit, may_repeat=False) for machine in hurried]
    left = [machine.leave(one.cut) for machine, one in zip(hurried, kept, strict=True) if one is not None]
    assert len(left) == len(hurried)
    assert np.mean(np.array(left) <= limit) >= 0.95
    assert all(machine.read_count <= 1 + len(set(machine.proposed)) for machine in hurried)


def test_what_scatters_between_readings_counts_beside_what_they_tell() -> None:
    alike, apart = Readings(), Readings()
    for amount in (1.0, 1.001, 0.999, 1.0):
        alike.add("a", Reading(amount, 0.001))
    for amount in (1.0, 1.1, 0.9, 1.0):
        apart.add("a", Reading(amount, 0.001))
    (low, high), (lower, higher) = alike.bounds("a"), apart.bounds("a")
    assert lower < 0.95 < low < 1 < high < 1.05 < higher


@pytest.mark.parametrize("cuts", [1, 3])
def test_what_is_looked_for_in_vain_ends_with_the_time(cuts: int) -> None:
    machine, asked = Machine(np.random.default_rng(0), 0.0, real=0.001), list[bool]()

    def fits(is_found: bool) -> bool:
        asked.append(is_found)
        return len(asked) <= cuts

    kept = find_least_cut(machine.propose, machine.read, 0.5, whole=0, tolerance=TOLERANCE, fits=fits)
    assert kept is None
    assert machine.read_count <= 1 + cuts
    assert asked == [False] * (cuts + 1)
