"""Calibration in shards: the same file as from one process, and errors that name the same sample."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.core.workers import Workers, open_workers
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration import sharding
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from tests.support import nets

OPTIONS = QuantizeOptions(placement="static", activations="static")


def test_two_processes_write_the_bytes_of_one() -> None:
    model = nets.residual(blocks=2)
    data = nets.samples(model, 48)
    here, _ = quantize(model, data, OPTIONS)
    with open_workers(None, 2):
        there, _ = quantize(model, data, OPTIONS)
    assert model_file.to_bytes(there) == model_file.to_bytes(here)


def test_every_sample_is_in_one_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nets.residual(blocks=1)
    seen: list[int] = []
    watch = sharding.observe_shard

    def noted(shard: sharding.Shard) -> object:
        seen.append(len(shard.feeds))
        return watch(shard)

    monkeypatch.setattr(sharding, "observe_shard", noted)
    monkeypatch.setattr(Workers, "map", lambda self, function, tasks: [function(task) for task in tasks])
    with open_workers(None, 3):
        quantize(model, nets.samples(model, 50), OPTIONS)
    assert seen == [17, 17, 16]


def test_workers_learn_nothing_from_a_sample_that_is_lost_either() -> None:
    model = nets.residual(blocks=1)
    name = str(model.graph.inputs[0].name)
    arrays = np.concatenate([batch[name] for batch in nets.samples(model, 48).batches(16)])
    arrays[41] = 3e38  # finite, but the sums over it are not
    warnings = []
    for count in (1, 2):
        with open_workers(None, count):
            _, report = quantize(model, open_samples({name: arrays}, model), OPTIONS)
        warnings.append(report.warnings)
    assert warnings[0] == warnings[1]
    assert "1 of 48 calibration samples has no finite output" in " ".join(warnings[0])
