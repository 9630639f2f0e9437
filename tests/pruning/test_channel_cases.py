"""Every network that the channel rules are tested on goes through the whole step: observed, scored, cut, repaired."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.core.errors import GateError
from onnxslim.data.sources import open_samples
from onnxslim.graph import shapes
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.step import prune
from onnxslim.runtime.session import Session
from tests.support.channel_cases import CASES

#: Those whose consumers are no plain layers or have no bias, whose sizes come ahead of the weights, whose axes empty early.
KEY = (
    "MatMul of two activations",
    "attention",
    "attention, packed",
    "attention with fewer heads of keys",
    "MultiHeadAttention",
    "packed Attention",
    "LSTM with states and peepholes",
    "a state of zeros",
    "a state of zeros for a batch of any size",
    "ConvTranspose",
    "Split",
    "a residual stream",
    "Einsum",
    "channel shuffle",
    "Flatten",
)


def goes_through(name: str, low_rank: bool) -> None:
    model, _ = CASES[name]
    rng = np.random.default_rng(0)
    feeds = {}
    for value in shapes.get_required_inputs(model):
        size = shapes.resolve_sizes(value, None)
        dtype = value.dtype.numpy() if value.dtype is not None else np.dtype(np.float32)
        size = (10 if not size or size[0] == 1 else size[0], *size[1:])
        feeds[value.name or ""] = (
            rng.normal(size=size).astype(dtype) if dtype.kind == "f" else rng.integers(0, 2, size).astype(dtype)
        )
    samples = open_samples(feeds, model)
    try:
        pruned, report = prune(model, samples, PruneOptions(remove=0.2, of="params", low_rank=low_rank, round_to=1))
    except GateError:
        return
    assert report.changed["params"] > 0
    batch = dict(next(iter(samples.batches(1))))
    for name_, value in Session(pruned).run(batch).items():
        assert value.shape == Session(model).run(batch)[name_].shape


@pytest.mark.parametrize("name", KEY)
def test_a_network_is_pruned_and_runs(name: str) -> None:
    goes_through(name, low_rank=False)


@pytest.mark.nightly
@pytest.mark.parametrize("low_rank", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_every_network_is_pruned_and_runs(name: str, low_rank: bool) -> None:
    goes_through(name, low_rank)
