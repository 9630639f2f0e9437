"""Real models on torch against the runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.paths import SAMPLES

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.model_io import model_file
from onnxslim.recovery.torch_model.executor import TorchExecutor
from onnxslim.runtime.session import Session, SessionConfig
from tests.support.torch_graphs import run_on_torch

EXACT = SessionConfig(optimize=False)

#: Model → its inputs: a shape for random floats, or the array.
FEEDS: dict[str, dict[str, object]] = {
    "basic_pitch_nmp": {"serving_default_input_2:0": (1, 43844, 1)},
    "cifar10_resnet56": {"input": (2, 3, 32, 32)},
    "efficientnet_lite0": {"input": (1, 3, 224, 224)},
    "magika_standard_v3_3": {"bytes": np.random.default_rng(0).integers(0, 256, (2, 2048)).astype(np.int32)},
    "mobilenet_v2": {"input": (1, 3, 224, 224)},
    "nudenet_320n_yolov8": {"images": (1, 3, 320, 320)},
    "ppocrv5_det": {"x": (1, 3, 64, 64)},
    "silero_vad_16k_op15": {"input": (1, 512), "state": (2, 1, 128), "sr": np.array(16000, np.int64)},
}


def feeds_for(wanted: dict[str, object]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.standard_normal(what).astype(np.float32) if isinstance(what, tuple) else np.asarray(what)
        for name, what in wanted.items()
    }


def check_equal(path: Path, feeds: dict[str, np.ndarray]) -> TorchExecutor:
    """Equal as the contract says, 1e-4 of the output's largest; 1e-6 is how exact the runtime's own Sigmoid is."""
    model = model_file.load(path)
    executor = TorchExecutor(model)
    expected = Session(model, EXACT).run(feeds)
    found = run_on_torch(executor, feeds)
    for name, want in expected.items():
        assert found[name].dtype == want.dtype
        assert found[name].shape == want.shape
        if want.dtype.kind != "f":
            np.testing.assert_array_equal(found[name], want)
            continue
        assert np.abs(found[name] - want).max() <= 1e-4 * np.abs(want).max() + 1e-6
    return executor


@pytest.mark.parametrize("name", FEEDS)
def test_a_model_of_the_zoo_gives_on_torch_what_it_gives_in_the_runtime(zoo: Path, name: str) -> None:
    executor = check_equal(zoo / f"{name}.onnx", feeds_for(FEEDS[name]))
    assert executor.weights


@pytest.mark.parametrize("name", ["digits_cnn", "digits_wide", "digits_mlp"])
def test_a_sample_model_gives_on_torch_what_it_gives_in_the_runtime(name: str) -> None:
    with np.load(SAMPLES / "digits_calib.npz") as data:
        check_equal(SAMPLES / f"{name}.onnx", {"image": data["image"]})
