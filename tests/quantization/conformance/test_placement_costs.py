"""A device's own figures: measured once, kept by machine, and none of this machine's where the table holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from onnxslim.quantization.conformance import placement_costs
from onnxslim.quantization.conformance.placement_costs import get_cost_model, measure_cost_model
from onnxslim.quantization.targets.base import CostModel
from onnxslim.quantization.targets.onnxruntime_cpu import CPU
from onnxslim.quantization.targets.web import WEB
from onnxslim.runtime.devices.device import use_device
from onnxslim.runtime.session import SessionConfig

CONFIG = SessionConfig()


class Board:
    """A device by its facts alone."""

    name = "board"

    def __init__(self, cpu: str) -> None:
        self.facts = {"cpu": cpu, "flags": "asimddp", "onnxruntime": "1.30.0"}


def flatten(costs: CostModel) -> Iterator[float]:
    for value in astuple(costs):
        for one in value.values() if isinstance(value, dict) else [value]:
            yield from one if isinstance(one, tuple) else [one or 0.0]


def test_every_price_is_that_of_where_it_runs() -> None:
    found = measure_cost_model(CPU.cost_model, CONFIG)
    assert all(0 <= price < 1e6 for price in flatten(found))
    assert found.dense_mac[0] > 0
    assert found.element_by_op.keys() == CPU.cost_model.element_by_op.keys()
    assert found.element_by_op["Sigmoid"] != CPU.cost_model.element_by_op["Sigmoid"]
    assert found.channel_multiple == CPU.cost_model.channel_multiple


def test_threads_share_the_work_of_a_node_but_not_what_a_node_costs() -> None:
    shared, alone = (get_cost_model(CPU, CONFIG.with_(threads=threads), "static") for threads in (4, 1))
    assert shared.node_overhead == 4 * alone.node_overhead
    assert replace(shared, node_overhead=alone.node_overhead) == alone


def test_a_device_is_measured_once_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    measured: list[CostModel] = []

    def measure(base: CostModel, config: SessionConfig) -> CostModel:
        measured.append(base)
        return WEB.cost_model

    monkeypatch.setattr(placement_costs, "measure_cost_model", measure)
    assert get_cost_model(CPU, CONFIG, "measured") == CPU.cost_model
    for cpu, times in (("one", 1), ("one", 1), ("another", 2), ("one", 2)):
        with use_device(Board(cpu)):  # type: ignore[arg-type]
            assert get_cost_model(CPU, CONFIG, "measured") == WEB.cost_model
            assert get_cost_model(WEB, CONFIG, "measured") == WEB.cost_model
            assert get_cost_model(CPU, CONFIG, "static") == CPU.cost_model
        assert len(measured) == times
