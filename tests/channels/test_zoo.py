"""The oracle on real models, as they are and simplified, and how much of them is reached."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from onnxslim.graph import shapes
from onnxslim.model_io import model_file
from onnxslim.simplification.step import simplify
from tests.support.mask_oracle import assert_exact

#: model -> the least reach once it is simplified (mobilenet and resnet: everything; the others: see issue 4)
MODELS = {
    "basic_pitch_nmp": 0.1,
    "cifar10_resnet56": 0.99,
    "efficientnet_lite0": 0.99,
    "magika_standard_v3_3": 0.05,
    "mobilenet_v2": 0.99,
    "nudenet_320n_yolov8": 0.9,
    "ppocrv5_det": 0.9,
    "silero_vad_16k_op15": 0.5,
}
SIZES = {"height": 64, "width": 64, "d0": 1, "d1": 64, "d2": 64, "batch": 2, "sequence": 512}


def dims(model: ir.Model) -> dict[str, int]:
    """Sizes for the free dimensions of this model."""
    free = {
        dim for value in shapes.get_required_inputs(model) for dim in shapes.get_dims(value) or () if isinstance(dim, str)
    }
    return {name: size for name, size in SIZES.items() if name in free}


#: Random sets on each graph: a few at every change, many now and then.
SETS = pytest.mark.parametrize("sets", [3, pytest.param(50, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)])])


@SETS
@pytest.mark.parametrize("name", MODELS)
def test_a_real_model_as_it_is(zoo: Path, name: str, sets: int) -> None:
    model = model_file.load(zoo / f"{name}.onnx")
    assert_exact(model, sets=sets, dims=dims(model))


@SETS
@pytest.mark.parametrize("name", MODELS)
def test_a_real_model_simplified(zoo: Path, name: str, sets: int) -> None:
    model, _ = simplify(zoo / f"{name}.onnx")
    assert assert_exact(model, sets=sets, dims=dims(model)).prunable_share >= MODELS[name]
