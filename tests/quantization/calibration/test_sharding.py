"""Calibration in shards: the same file as from one process, and errors that name the same sample."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.core.errors import InvalidDataError
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
    seen: list[tuple[int, int]] = []
    watch = sharding.observe_shard

    def noted(shard: sharding.Shard) -> object:
        seen.append((shard.first_sample, len(shard.feeds)))
        return watch(shard)

    monkeypatch.setattr(sharding, "observe_shard", noted)
    monkeypatch.setattr(Workers, "map", lambda self, function, tasks: [function(task) for task in tasks])
    with open_workers(None, 3):
        quantize(model, nets.samples(model, 50), OPTIONS)
    assert seen == [(0, 17), (17, 17), (34, 16)]


def test_a_bad_sample_is_named_by_its_number_among_all() -> None:
    model = nets.residual(blocks=1)
    name = str(model.graph.inputs[0].name)
    arrays = np.concatenate([batch[name] for batch in nets.samples(model, 48).batches(16)])
    arrays[41] = 3e38  # finite, but the sums over it are not
    with open_workers(None, 2), pytest.raises(InvalidDataError, match="calibration sample 41"):
        quantize(model, open_samples({name: arrays}, model), OPTIONS)
