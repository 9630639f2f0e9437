"""The rows say what the numbers say: direction, units, intervals, and nothing where nothing was measured."""

from __future__ import annotations

from typing import Any

import pytest

from onnxslim.reporting import figures
from tests.support.sample_report import metric, sample


def row(report: dict[str, Any], name: str) -> figures.FigureRow:
    return next(row for row in figures.list_rows(report) if row.name == name)


def test_every_figure_of_the_contract_is_a_row_with_how_it_was_measured() -> None:
    rows = figures.list_rows(sample())
    assert [row.name for row in rows] == [
        "Size", "Parameters", "MACs", "Latency", "Peak memory", "Top-1", "Top-5", "Agreement", "SQNR of output",
    ]  # fmt: skip
    assert all(row.how for row in rows)


def test_what_is_sent_to_a_browser_has_its_size_on_the_way() -> None:
    found = row({"download": {"original": 3_000, "result": 1_000, "encoding": "gzip"}}, "Download")
    assert (found.change, found.verdict) == ("3.00× smaller", "better")
    assert "gzip" in found.how


def test_smaller_and_faster_are_better_and_their_opposites_worse() -> None:
    report = sample()
    assert (row(report, "Size").change, row(report, "Size").verdict) == ("4.10× smaller", "better")
    report["input"], report["output"] = report["output"], report["input"]
    assert (row(report, "Size").change, row(report, "Size").verdict) == ("4.10× larger", "worse")
    report["output"] = report["input"]
    assert (row(report, "Size").change, row(report, "Size").verdict) == ("unchanged", "")
    report["latency"] |= {"ratio": 0.5, "interval": [0.4, 0.6]}
    assert (row(report, "Latency").change, row(report, "Latency").verdict) == ("2.00× slower", "worse")


def test_a_change_whose_interval_holds_none_is_neither_better_nor_worse() -> None:
    report = sample()
    report["latency"] |= {"ratio": 1.04, "interval": [0.98, 1.1]}
    assert row(report, "Latency").verdict == ""
    assert row(report, "Top-1").verdict == ""


def test_a_drop_reads_as_a_change_in_points_with_the_interval_turned() -> None:
    found = row(sample(), "Top-1")
    assert (found.original, found.result) == ("78.50 %", "78.17 %")
    assert (found.change, found.interval) == ("−0.33 points", "−1.67 to +0.99")
    worse = sample() | {"metrics": [metric("top1", 0.8, 0.7, [0.05, 0.15], provable=0.02)]}
    assert row(worse, "Top-1").verdict == "worse"
    better = sample() | {"metrics": [metric("top1", 0.7, 0.8, [-0.15, -0.05], provable=0.02)]}
    assert (row(better, "Top-1").change, row(better, "Top-1").verdict) == ("+10.00 points", "better")


def test_an_error_that_grows_is_worse_and_has_no_percent() -> None:
    entry = metric("rmse", 0.5, 0.75, [0.2, 0.3], unit="", better="lower", provable=0.1) | {"drop": 0.25}
    found = row(sample() | {"metrics": [entry]}, "RMSE")
    assert (found.original, found.result, found.change) == ("0.5000", "0.7500", "+0.250")
    assert (found.interval, found.verdict) == ("+0.200 to +0.300", "worse")


def test_what_a_value_is_in_other_words_is_told_with_how_it_was_measured() -> None:
    entry = metric("psnr", 0.0, 0.01, [0.009, 0.011], better="lower") | {"note": "PSNR 40.0 dB, peak 1"}
    assert row(sample() | {"metrics": [entry]}, "Error of the peak").how.startswith("PSNR 40.0 dB, peak 1; ")


def test_one_metric_of_several_outputs_says_which_each_is_of() -> None:
    entries = [metric("variance", 1.0, 0.99, [0.0, 0.02]) | {"output": output} for output in ("pitch", "confidence")]
    rows = figures.list_rows(sample() | {"metrics": [*entries, metric("agreement", 1.0, 1.0, [0, 0]) | {"output": "pitch"}]})
    names = [found.name for found in rows if found.key == "metrics"]
    assert names == ["Variance kept of pitch", "Variance kept of confidence", "Agreement"]


def test_disagreeing_with_the_original_is_no_verdict() -> None:
    assert row(sample(), "Agreement").verdict == ""


def test_a_model_judged_alone_has_a_value_and_no_change() -> None:
    alone = metric("top1", 0.0, 0.7, [0, 0]) | {"original": None, "drop": None, "interval": None}
    found = row({"metrics": [alone]}, "Top-1")
    assert (found.original, found.result, found.change) == ("–", "70.00 %", "")


def test_what_the_caller_measured_otherwise_replaces_the_contracts_words() -> None:
    report = sample() | {"measured": {"size": "the archive", "top1": "on half the data"}}
    assert row(report, "Size").how == "the archive"
    assert row(report, "Top-1").how == "on half the data"
    report["data"]["confirm"] = {"source": "photos", "n": 600, "read": 1}
    assert row(report, "Top-5").how.startswith("600 samples of photos; both models")
    assert "paired" in row(report, "Top-5").how


@pytest.mark.parametrize("missing", sorted(sample()))
def test_any_part_may_be_missing_or_null(missing: str) -> None:
    report = sample()
    del report[missing]
    figures.list_rows(report)
    figures.list_rows(report | {missing: None})


def names_at(report: dict[str, Any]) -> int:
    """Where the first metric's row is."""
    name = figures.metric_name(report["metrics"][0]["name"])
    return next(i for i, row in enumerate(figures.list_rows(report)) if row.name == name)


def test_the_metric_on_the_fit_data_stands_beside_the_held_back_one_without_a_verdict() -> None:
    report = dict(sample())
    report["fit_metrics"] = [{**metric, "name": "other"} for metric in report["metrics"][:1]] + report["metrics"][:1]
    rows = [row for row in figures.list_rows(report) if row.name.endswith(", fit data")]
    assert [(row.name, row.verdict) for row in rows] == [
        (f"{figures.list_rows(report)[names_at(report)].name}, fit data", "")
    ]


def test_energy_that_cannot_be_measured_says_so_before_any_estimate() -> None:
    assert figures.describe_energy(sample()) == "not measurable here, relative estimate 0.38"
    assert figures.describe_energy({}) == ""
    measured = {"source": "RAPL", "result": {"millijoules": 1.23456, "interval": [0.5, 0.75]}, "command_joules": 20.0}
    assert (
        figures.describe_energy({"energy": measured})
        == "RAPL, result millijoules 1.23 interval 0.5 to 0.75, command joules 20"
    )


def test_a_step_and_a_prompt_are_rows_of_their_own() -> None:
    report = sample()
    report["latency"] |= {
        "of": "step",
        "prompt": {**report["latency"], "of": "prompt", "ratio": 0.5, "interval": [0.4, 0.6]},
    }
    assert row(report, "Latency of a step").verdict == "better"
    assert row(report, "Latency of a prompt").change == "2.00× slower"


def test_of_many_states_the_worst_is_told() -> None:
    report = sample()
    levels = {"key.0": 40.0, "value.0": 20.0, "key.1": None}
    report["outputs"] |= {name: {"sqnr_db": level, "equal": level is None} for name, level in levels.items()}
    report["judged"] = {"kinds": [{"kind": "cache", "outputs": [name]} for name in levels]}
    names = [r.name for r in figures.list_rows(report) if r.key == "outputs"]
    assert names == ["SQNR of output", "SQNR of value.0, the worst of 3 states"]
    report["judged"]["kinds"] = report["judged"]["kinds"][:2]
    assert len([r for r in figures.list_rows(report) if r.key == "outputs"]) == 4


@pytest.mark.parametrize(
    ("level", "equal", "is_worst"), [(0.0, False, True), (None, False, True), (None, True, False), (-3.0, False, True)]
)
def test_a_broken_state_is_the_worst_and_an_equal_one_is_not(level: float | None, equal: bool, is_worst: bool) -> None:
    report = sample()
    levels = {"key.0": (20.0, False), "value.0": (level, equal), "key.1": (50.0, False)}
    report["outputs"] |= {name: {"sqnr_db": of, "equal": is_equal} for name, (of, is_equal) in levels.items()}
    report["judged"] = {"kinds": [{"kind": "cache", "outputs": [name]} for name in levels]}
    expected = "value.0" if is_worst else "key.0"
    assert list(figures.list_told_outputs(report))[-1] == f"{expected}, the worst of 3 states"
