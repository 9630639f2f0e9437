"""Intervals are judged by what they promise: coverage on simulated outcomes whose drop is known, and oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from onnxslim.validation import statistics
from onnxslim.validation.statistics import paired_proportion_interval


@st.composite
def paired_counts(draw: st.DrawFn) -> tuple[int, int, int]:
    n = draw(st.integers(1, 2000))
    lost = draw(st.integers(0, n))
    return lost, draw(st.integers(0, n - lost)), n


def tango_statistic(lost: int, gained: int, n: int, delta: float) -> float:
    """The score statistic with its nuisance parameter found by search instead of by Tango's formula."""

    def minus_log_likelihood(q: float) -> float:
        p12, p21 = q + delta, q
        rest = 1 - p12 - p21
        terms = ((lost, p12), (gained, p21), (n - lost - gained, rest))
        return -sum(count * math.log(max(p, 1e-300)) for count, p in terms if count)

    low, high = max(0.0, -delta), (1 - delta) / 2
    q = optimize.minimize_scalar(minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return (lost - gained - n * delta) / math.sqrt(n * (2 * q + delta * (1 - delta)))


@pytest.mark.parametrize(("lost", "gained", "n"), [(5, 2, 300), (40, 20, 160), (9, 1, 50), (3, 12, 900)])
def test_the_ends_of_the_paired_interval_are_where_the_score_test_rejects(lost: int, gained: int, n: int) -> None:
    low, high = paired_proportion_interval(lost, gained, n)
    assert tango_statistic(lost, gained, n, low) == pytest.approx(stats.norm.ppf(0.975), abs=1e-3)
    assert tango_statistic(lost, gained, n, high) == pytest.approx(stats.norm.ppf(0.025), abs=1e-3)


@given(paired_counts())
def test_the_paired_interval_holds_the_drop_and_mirrors_when_the_models_swap(counts: tuple[int, int, int]) -> None:
    lost, gained, n = counts
    low, high = paired_proportion_interval(lost, gained, n)
    assert -1 <= low <= (lost - gained) / n <= high <= 1
    assert low < high
    mirrored = paired_proportion_interval(gained, lost, n)
    assert mirrored == pytest.approx((-high, -low), abs=1e-7)


@given(paired_counts())
def test_the_paired_interval_excludes_zero_exactly_when_mcnemars_test_rejects(counts: tuple[int, int, int]) -> None:
    lost, gained, n = counts
    low, high = paired_proportion_interval(lost, gained, n)
    chi_squared = (lost - gained) ** 2 / max(lost + gained, 1)
    if abs(chi_squared - 3.8415) > 1e-3:
        assert (low > 0 or high < 0) == (chi_squared > 3.8415)


@pytest.mark.parametrize(
    ("n", "lost", "gained"),
    [(100, 0.06, 0.04), (300, 0.04, 0.03), (300, 0.02, 0.005), (300, 0.10, 0.02), (600, 0.03, 0.0), (2000, 0.02, 0.01)],
)
def test_the_paired_interval_covers_a_known_drop_93_to_97_percent_of_the_time(n: int, lost: float, gained: float) -> None:
    draws = np.random.default_rng(1).multinomial(n, [lost, gained, 1 - lost - gained], 3000)
    pairs, counts = np.unique(draws[:, :2], axis=0, return_counts=True)
    covered = 0
    for (b, c), count in zip(pairs, counts, strict=True):
        low, high = paired_proportion_interval(int(b), int(c), n)
        covered += int(count) * (low <= lost - gained <= high)
    assert 0.93 <= covered / 3000 <= 0.97


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_exact_test_with_half_the_seen_outcome(lost: int, gained: int) -> None:
    exact = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    seen = stats.binom.pmf(lost, lost + gained, 0.5)
    expected = exact - seen if lost != gained else 1.0
    assert statistics.mcnemar(lost, gained) == pytest.approx(min(1.0, expected), abs=1e-9)


def mean(means: np.ndarray) -> np.ndarray:
    return means[:, 0]


def test_the_bootstrap_covers_a_known_mean_93_to_97_percent_of_the_time() -> None:
    draw = np.random.default_rng(2)
    covered = 0
    for seed in range(1000):
        low, high = statistics.bootstrap_interval(draw.normal(0.1, 1, (60, 1)), mean, resamples=1000, seed=seed)
        covered += low <= 0.1 <= high
    assert 0.93 <= covered / 1000 <= 0.97


def test_the_bootstrap_of_a_quotient_covers_the_quotient() -> None:
    """1 - sqrt(Σ error / Σ energy), the contract's relative metric, is a statistic of two means."""
    draw = np.random.default_rng(3)
    covered = 0
    for seed in range(600):
        parts = np.stack([0.1 * draw.chisquare(1, 100), draw.chisquare(4, 100)], axis=1)
        low, high = statistics.bootstrap_interval(parts, lambda m: 1 - np.sqrt(m[:, 0] / m[:, 1]), resamples=600, seed=seed)
        covered += low <= 1 - math.sqrt(0.1 / 4) <= high
    assert 0.92 <= covered / 600 <= 0.98


def test_the_bootstrap_agrees_with_scipys_once_both_expand_the_percentiles() -> None:
    values = np.random.default_rng(4).gamma(2, 1, 80)
    level = 1 - 2 * stats.norm.cdf(math.sqrt(80 / 79) * stats.t.ppf(0.025, 79))
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, confidence_level=level, method="percentile", rng=0
    ).confidence_interval
    ours = statistics.bootstrap_interval(values[:, None], mean, resamples=20_000)
    assert ours == pytest.approx((theirs.low, theirs.high), rel=0.01)


def test_the_bootstrap_is_the_same_for_the_same_seed_however_it_is_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(size=(50, 1))
    whole = statistics.bootstrap_interval(values, mean)
    monkeypatch.setattr(statistics, "_MAX_BOOTSTRAP_DRAWS", 7 * 50)
    assert statistics.bootstrap_interval(values, mean) == whole


def test_one_sample_has_no_interval_to_speak_of() -> None:
    assert statistics.bootstrap_interval(np.array([[0.25]]), mean) == (0.25, 0.25)
    assert statistics.median_interval(np.array([3.0])) == (3.0, 3.0)


@pytest.mark.parametrize("likeness", [0.0, 0.5])
def test_the_ratio_interval_holds_the_long_run_ratio_although_rounds_are_alike(likeness: float) -> None:
    """Rounds on a machine whose speed wanders (an autoregressive walk) and hiccups (an exponential tail)."""
    draw = np.random.default_rng(6)
    covered = 0
    for seed in range(400):
        wander = np.zeros(50)
        for i in range(1, 50):
            wander[i] = likeness * wander[i - 1] + draw.normal(0, 0.03)
        drift = 1 + 0.3 * np.abs(np.sin(np.arange(50) / 7 + seed))
        base = 2.0 * drift * np.exp(wander) * (1 + draw.exponential(0.05, 50))
        other = 1.0 * drift * (1 + draw.exponential(0.05, 50))
        low, high = statistics.ratio_interval(base, other, seed=seed)
        covered += low <= 2.0 <= high
    assert covered / 400 >= 0.92


def test_the_jackknife_of_a_mean_is_students_interval() -> None:
    values = np.random.default_rng(7).normal(size=20)
    without = (values.sum() - values) / 19
    expected = stats.t.interval(0.95, 19, values.mean(), stats.sem(values))
    assert statistics.jackknife_interval(without, values.mean()) == pytest.approx(expected)


@given(st.integers(10, 3000), st.integers(0, 200), st.data())
def test_the_smallest_provable_drop_is_where_the_interval_starts_to_exclude_zero(
    n: int, disagreements: int, data: st.DataObject
) -> None:
    disagreements = min(disagreements, n)
    provable = round(statistics.smallest_provable_drop(n, disagreements) * n)
    total = max(disagreements, provable)
    if provable < n:
        gained = (total - provable) // 2
        assert paired_proportion_interval(gained + provable, gained, n)[0] > -1e-9
    smaller = data.draw(st.integers(0, max(provable - 1, 0)))
    if disagreements >= smaller and (disagreements - smaller) % 2 == 0:
        gained = (disagreements - smaller) // 2
        assert paired_proportion_interval(gained + smaller, gained, n)[0] <= 1e-9


def test_that_many_samples_do_decide() -> None:
    """4 % lost, 3 % gained, and the question is whether the drop is below 2 points."""
    interval = paired_proportion_interval(12, 9, 300)
    needed = statistics.samples_to_decide(0.01, interval, 300, 0.02)
    assert needed is not None
    assert needed > 300
    more = paired_proportion_interval(round(0.04 * needed), round(0.03 * needed), needed)
    assert more[1] == pytest.approx(0.02, abs=0.001)


def test_what_is_decided_needs_no_more_samples_and_a_tie_cannot_be_decided() -> None:
    assert statistics.samples_to_decide(0.01, (0.0, 0.015), 300, 0.02) == 300
    assert statistics.samples_to_decide(0.02, (0.0, 0.04), 300, 0.02) is None


def test_so_many_samples_let_a_drop_pass_with_its_uncertainty() -> None:
    """1 % lost and .5 % gained, and a choice that counts one standard error for one point."""
    interval = paired_proportion_interval(20, 10, 2000)
    needed = statistics.samples_to_choose(0.005, interval, 2000, 0.01)
    assert needed is not None
    more = paired_proportion_interval(round(0.01 * needed), round(0.005 * needed), needed)
    assert statistics.add_standard_error(0.005, more) == pytest.approx(0.01, abs=0.001)
    assert statistics.samples_to_choose(0.01, interval, 200, 0.01) is None
    assert statistics.samples_to_choose(0.005, None, 200, 0.01) is None


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_what_a_drop_may_be_lies_within_its_interval_and_never_below_nothing(
    drop: float, below: float, above: float
) -> None:
    interval = (drop - below, drop + above)
    least, most = statistics.least_proven_drop(drop, interval), statistics.add_standard_error(drop, interval)
    assert least == max(0.0, interval[0])
    assert 0 <= least <= drop <= most <= interval[1] + 1e-12
    assert statistics.least_proven_drop(drop, None) == drop == statistics.least_proven_drop(drop, (drop, drop))


@given(st.integers(1, 500), st.integers(0, 5))
def test_no_change_among_n_answers_proves_no_less_than_about_one_in_n(n: int, changed: int) -> None:
    losses = np.zeros(n + changed)
    none = statistics.estimate_answer_error(np.zeros(n))
    assert 0.4 / (n + 2) < none < 0.6 / (n + 1) * 1.01
    losses[:changed] = 1.0
    share = changed / len(losses)
    seen = np.sqrt(share * (1 - share) / len(losses))
    assert statistics.estimate_answer_error(losses) >= 0.6 * seen, "what did change counts as well"
    assert statistics.widen_interval((0.0, 0.0), 0.0, none)[1] == pytest.approx(1.96 * none, rel=1e-3)
    assert statistics.widen_interval((-1.0, 9.0), 0.0, none) == (-1.0, 9.0)


@pytest.mark.parametrize("limit", [0.001, 0.005, 0.02, 0.3])
def test_so_many_samples_without_another_answer_prove_a_limit(limit: float) -> None:
    count = statistics.count_alike_to_prove(limit)
    assert statistics.wilson_interval(0, count)[1] <= limit + 1e-12 < statistics.wilson_interval(0, count - 1)[1]
