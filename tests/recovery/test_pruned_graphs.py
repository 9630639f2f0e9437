"""Whatever pruning makes of any graph can learn back and be quantised, and ends no worse than it began.

Which units go is drawn, so that streams, heads, states and shared weights lose channels that no criterion would take.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.core.errors import OnnxslimError, UnsupportedError
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.graph import shapes
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.step import prune
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.step import recover
from onnxslim.runtime.session import Session, check_loads
from tests.support import nets
from tests.support.channel_cases import CASES
from tests.support.mask_oracle import random_sets, remove_units

#: Those that differ in what recovery meets: streams, states, heads, layouts, several readers, ops that torch cannot run.
KEY: tuple[str, ...] = (
    "a residual stream",
    "a gate of one value for each channel",
    "MatMul of two activations",
    "attention",
    "packed Attention",
    "LSTM with states and peepholes",
    "ConvTranspose",
    "FusedConv",
    "Split",
    "channel shuffle",
    "Flatten",
)
ROWS = 24


def draw_samples(model: ir.Model, seed: int) -> Samples:
    rng, feeds = np.random.default_rng(seed), {}
    for value in shapes.get_required_inputs(model):
        size = shapes.resolve_sizes(value, None)
        dtype = value.dtype.numpy() if value.dtype is not None else np.dtype(np.float32)
        size = (ROWS * (size[0] if size else 1), *size[1:])
        feeds[value.name or ""] = (
            rng.normal(size=size).astype(dtype) if dtype.kind == "f" else rng.integers(0, 2, size).astype(dtype)
        )
    return open_samples(feeds, model)


def measure_error(model: ir.Model, teacher: ir.Model, samples: Samples) -> float:
    noise = signal = 0.0
    sessions = Session(teacher), Session(model)
    for batch in samples.batches(1):
        wanted, found = (session.run(dict(batch)) for session in sessions)
        for name, array in wanted.items():
            if array.dtype.kind == "f" and np.isfinite(array).all():
                noise += float(((array.astype(float) - found[name]) ** 2).sum())
                signal += float((array.astype(float) ** 2).sum())
    return noise / max(signal, 1e-12)


def goes_through(name: str, sets: int) -> None:
    teacher, _ = CASES[name]
    analysis = analyze_channels(teacher)
    try:
        samples, unseen = draw_samples(teacher, 0), draw_samples(teacher, 1)
    except OnnxslimError as error:  # no data of this kind can be given, whatever was pruned
        pytest.skip(str(error))
    for mask in random_sets(analysis, sets, 0):
        if not mask.any():
            continue
        pruned = remove_units(teacher, mask, analysis)
        try:
            result, report = recover(pruned, teacher, samples, RecoverOptions(steps=3))
        except UnsupportedError:  # nothing to train, or nothing that torch can
            continue
        check_loads(result)
        before, after = (measure_error(model, teacher, unseen) for model in (pruned, result))
        assert after <= 1.05 * before + 1e-6, report.details
        if not report.changed:
            assert after == before
        try:
            int8, _ = quantize(result, samples, QuantizeOptions(placement="static"))
        except OnnxslimError:  # nothing to quantise
            continue
        check_loads(int8)
        assert measure_error(int8, teacher, unseen) <= 1.05 * after + 0.05


@pytest.mark.parametrize("name", KEY)
def test_a_pruned_graph_learns_and_is_quantised(name: str) -> None:
    goes_through(name, 1)


@pytest.mark.nightly
@pytest.mark.parametrize("name", sorted(set(CASES) - set(KEY)))
def test_every_pruned_graph_learns_and_is_quantised(name: str) -> None:
    goes_through(name, 3)


@pytest.mark.parametrize("low_rank", [False, True], ids=["channels and blocks", "low rank"])
def test_what_a_prune_step_made_learns_by_its_inner_tensors(low_rank: bool) -> None:
    teacher = nets.residual(blocks=4, width=12)
    samples = nets.samples(teacher, 96)
    pruned, _ = prune(teacher, samples, PruneOptions(remove=0.5, of="macs", low_rank=low_rank, round_to=1))
    result, report = recover(pruned, teacher, samples, RecoverOptions(steps=3))
    assert report.details["unmatched"] == []
    assert report.details["gradient_norms"].keys() - {"(last)"}
    check_loads(result)
    unseen = nets.samples(teacher, 64, 9)
    assert measure_error(result, teacher, unseen) <= 1.02 * measure_error(pruned, teacher, unseen)
