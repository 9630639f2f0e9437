"""How often `verify` ends rightly at the sample size that it asks for: seeded trials of models whose drop is known.

    python benchmarks/gate_power.py [--trials 200] [--limit 0.01]

Each row is a metric and a kind of candidate. A population of samples is drawn once; the noise in the candidate's outputs is
scaled until the metric of the whole population drops by 1.5 times the limit (``regression``), or it is no more than rounding
(``equal``), or as many answers become right as wrong (``equally right``). A trial draws its samples from the population,
plans on its pilot as `verify` does, and is judged on as many as that asks for.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from onnxslim.validation.kind_accumulator import KindAccumulator
from onnxslim.validation.metrics.accumulator import MetricResult
from onnxslim.validation.metrics.dataset_metrics import DATASET_METRICS
from onnxslim.validation.metrics.embeddings import MAX_ROWS
from onnxslim.validation.metrics.table import METRICS
from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.verification.check import conclude
from onnxslim.verification.sample_size import CAUGHT_EXCESS, judge_drop, judge_in_stages

#: Samples of a population; more than any trial asks for.
POPULATION = 60_000
#: Of metrics that compare all pairs: what they keep is no more.
PAIRS_POPULATION = 20_000


@dataclass(frozen=True)
class Population:
    """Outputs of a model for every sample, shape (n, …), and labels where the metric reads them."""

    metric: str
    outputs: np.ndarray
    labels: np.ndarray | None

    def measure(self, candidate: np.ndarray, rows: np.ndarray | slice) -> MetricResult:
        """The metric on some samples, as `evaluate` computes it."""
        gates = () if self.labels is not None else (self.metric,)
        kind = OutputKind(("y",), "simulated", gates, "", label_gates=(self.metric,) if self.labels is not None else (),
                          reads_labels=self.labels is not None).weigh_labels("alone")  # fmt: skip
        accumulator = KindAccumulator(kind, has_labels=self.labels is not None, has_original=True)
        outputs, labels = self.outputs[rows], None if self.labels is None else self.labels[rows]
        accumulator.add({"y": candidate[rows]}, {"y": outputs}, labels, len(outputs))
        (result,) = accumulator.compute()
        return result

    @property
    def point(self) -> float:
        """The drop that weighs as much as one point of top-1."""
        return METRICS[self.metric].point if self.metric in METRICS else DATASET_METRICS[self.metric].point

    def measure_drop(self, candidate: np.ndarray) -> float:
        """The drop over the whole population, without the interval; of all pairs over as many rows as are kept."""
        if self.metric not in METRICS:
            return self.measure(candidate, slice(0, MAX_ROWS)).drop or 0.0
        metric = METRICS[self.metric]
        before, after = (
            float(metric.finish(metric.parts(outputs, self.outputs, self.labels).mean(axis=0, keepdims=True))[0])
            for outputs in (self.outputs, candidate)
        )
        return before - after


def make_population(metric: str, seed: int = 0) -> Population:
    """Outputs of a kind that ``metric`` reads: scores of ten classes, or vectors of 32 numbers with structure."""
    rng = np.random.default_rng(seed)
    if metric in ("top1", "confidence", "agreement"):
        labels = rng.integers(0, 10, POPULATION)
        # some samples are easy and some are not, as those of real classifiers
        margin = 1.5 + 2.5 * rng.gamma(2.0, size=(POPULATION, 1))
        logits = rng.normal(size=(POPULATION, 10)) + margin * (np.arange(10) == labels[:, None])
        return Population(metric, logits.astype(np.float32), labels if metric == "top1" else None)
    n = PAIRS_POPULATION if metric in ("similarity", "neighbors") else POPULATION
    topics = rng.normal(size=(16, 32))
    rows = topics[rng.integers(0, 16, n)] + 0.7 * rng.normal(size=(n, 32))
    return Population(metric, rows.astype(np.float32), None)


def make_candidates(population: Population, limit: float, seed: int = 1) -> Iterator[tuple[str, float, np.ndarray]]:
    """(what it is, its drop over the population as a share of the limit, its outputs)."""
    rng = np.random.default_rng(seed)
    outputs = population.outputs
    noise = rng.normal(size=outputs.shape).astype(np.float32)
    # errors of real candidates are uneven: some samples lose much more than others
    noise *= rng.gamma(1.0, size=(len(outputs), *(1,) * (outputs.ndim - 1))).astype(np.float32)

    def measure_share(candidate: np.ndarray) -> float:
        return population.measure_drop(candidate) / (limit * population.point / 0.01)

    yield "equal", 0.0, outputs + np.float32(1e-4) * noise
    if population.labels is not None:
        right = outputs.argmax(axis=1) == population.labels
        # as many of those that were right become wrong as the other way round
        wrong, hit = np.flatnonzero(~right), np.flatnonzero(right)
        count = min(len(wrong), round(limit * len(outputs)))
        even = outputs.copy()
        even[wrong[:count], population.labels[wrong[:count]]] = 100.0
        lost = hit[rng.permutation(len(hit))[:count]]
        even[lost, (population.labels[lost] + 1) % 10] = 100.0
        yield "equally right", measure_share(even), even
    low, high, target = 1e-4, 10.0, 1 + CAUGHT_EXCESS
    for _ in range(15):
        middle = np.float32(np.sqrt(low * high))
        low, high = (middle, high) if measure_share(outputs + middle * noise) < target else (low, middle)
    candidate = outputs + np.float32(np.sqrt(low * high)) * noise
    yield "regression", measure_share(candidate), candidate


def run_trials(population: Population, candidate: np.ndarray, limit: float, trials: int, seed: int = 2) -> dict[str, float]:
    """Shares of the verdicts, and the median of the samples that were asked for and judged."""
    verdicts: Counter[str] = Counter()
    needed, used = [], []
    for trial in range(trials):
        order = np.random.default_rng([seed, trial]).permutation(len(population.outputs))
        measure: Callable[[int], MetricResult] = lambda n, order=order: population.measure(candidate, order[:n])  # noqa: E731
        plan, metric = judge_in_stages(measure, lambda metric: [metric], len(order), limit)
        verdicts[conclude([judge_drop(metric, limit)])] += 1
        needed.append(plan.needed or len(order))
        used.append(plan.used)
    shares = {verdict: verdicts[verdict] / trials for verdict in ("pass", "cannot tell", "fail")}
    return {**shares, "needed": float(np.median(needed)), "used": float(np.median(used))}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--limit", type=float, default=0.01)
    parser.add_argument("--metrics", nargs="*", default=["top1", "agreement", "confidence", "variance", "similarity"])
    arguments = parser.parse_args()
    print(
        "| metric | candidate | drop / limit | pass | cannot tell | fail | samples, median |\n|---|---|--:|--:|--:|--:|--:|"
    )
    for metric in arguments.metrics:
        population = make_population(metric)
        for name, share, candidate in make_candidates(population, arguments.limit):
            row = run_trials(population, candidate, arguments.limit, arguments.trials)
            shares = " | ".join(f"{100 * row[verdict]:.1f} %" for verdict in ("pass", "cannot tell", "fail"))
            print(f"| {metric} | {name} | {share:.2f} | {shares} | {row['used']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
