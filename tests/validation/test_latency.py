"""Rounds in, the contract's latency out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from onnxslim.validation.latency import compute_percentiles, is_slower, list_cautions, summarize


def test_the_ratio_is_the_median_of_the_rounds_ratios_not_the_ratio_of_the_medians() -> None:
    original, result = np.array([1.0, 10.0, 100.0]), np.array([1.0, 20.0, 25.0])
    found = summarize({"original": original, "result": result}, provider="cpu", threads=1, batch=4)
    assert found["ratio"] == 1.0
    assert found["ratio"] != np.median(original) / np.median(result)
    assert (found["provider"], found["threads"], found["batch"]) == ("cpu", 1, 4)


def test_drift_that_both_share_cancels() -> None:
    drift = 1 + np.arange(60) / 20
    found = summarize({"original": 0.003 * drift, "result": 0.001 * drift}, provider="cpu", threads=1, batch=1)
    assert found["interval"] == pytest.approx([3, 3])
    low, high = found["original"]["interval_ms"]
    assert low < found["original"]["median_ms"] < high


def test_percentiles_are_milliseconds() -> None:
    found = compute_percentiles(np.arange(101) / 1000)
    assert (found["median_ms"], found["p90_ms"], found["p99_ms"]) == pytest.approx((50, 90, 99))


def test_it_is_json() -> None:
    rounds = {name: np.random.default_rng(0).gamma(5, 1e-3, 20) for name in ("original", "result")}
    found = json.loads(json.dumps(summarize(rounds, provider="cpu", threads=2, batch=1)))
    assert set(found) >= {"provider", "threads", "batch", "ratio", "interval", "original", "result"}
    assert found["rounds"]["result"] == pytest.approx((1000 * rounds["result"]).tolist())


@pytest.mark.parametrize(
    ("ratio", "interval", "slower", "said"),
    [
        (0.9, [0.88, 0.92], True, ["slower"]),
        (0.9, [0.7, 1.0], False, ["noisy"]),
        (0.5, [0.4, 0.6], True, ["slower", "noisy"]),
        (1.5, [1.45, 1.55], False, []),
    ],
)
def test_what_is_slower_beyond_chance_and_what_is_noisy_is_said(
    ratio: float, interval: list[float], slower: bool, said: list[str]
) -> None:
    found = {"ratio": ratio, "interval": interval}
    assert is_slower(found) is slower
    cautions = list_cautions(found)
    assert len(cautions) == len(said)
    assert all(word in line for word, line in zip(said, cautions, strict=True))


def test_a_prompt_that_is_read_slower_is_a_caution_beside_faster_steps() -> None:
    rounds = {"original": np.full(9, 2e-3), "result": np.full(9, 1e-3)}
    steps = summarize(rounds, provider="cpu", threads=1, batch=1)
    prompt = summarize({"original": rounds["result"], "result": rounds["original"]}, provider="cpu", threads=1, batch=1)
    assert list_cautions(steps | {"prompt": steps}) == []
    assert any("reads a prompt slower" in line for line in list_cautions(steps | {"prompt": prompt}))
