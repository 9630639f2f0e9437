"""Real models run on what this room gives them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session


def test_a_voice_detector_takes_its_state_whole_or_stacked(zoo: Path, tmp_path: Path) -> None:
    model = model_file.load(zoo / "silero_vad_16k_op15.onnx")
    session = Session(model)
    rng = np.random.default_rng(0)
    chunks = rng.standard_normal((5, 512)).astype(np.float32)
    states = rng.standard_normal((5, 2, 128)).astype(np.float32)
    np.savez(tmp_path / "whole.npz", input=chunks, state=states[:, :, None], sr=np.array(16000))
    np.savez(tmp_path / "stacked.npz", input=chunks, state=states, sr=np.full(5, 16000))
    alone = open_samples(tmp_path / "whole.npz", model)
    stacked = open_samples(tmp_path / "stacked.npz", model)
    assert alone.digests() == stacked.digests()
    one_by_one = [session.run(batch, ["output"])["output"] for batch in alone.batches(8)]
    at_once = [session.run(batch, ["output"])["output"] for batch in stacked.batches(8)]
    assert len(one_by_one) == 5
    np.testing.assert_allclose(np.concatenate(one_by_one), np.concatenate(at_once), atol=1e-5)


@pytest.mark.parametrize("name", ["basic_pitch_nmp", "magika_standard_v3_3", "silero_vad_16k_op15", "mobilenet_v2"])
def test_random_data_run_on_models_of_every_kind(zoo: Path, name: str) -> None:
    model = model_file.load(zoo / f"{name}.onnx")
    samples = open_samples("random", model, max_samples=3, dims={"sequence": 512})
    session = Session(model)
    for batch in samples.batches(2):
        assert all(np.isfinite(output).all() for output in session.run(batch).values())


def test_an_image_folder_is_what_the_zoo_s_own_reader_makes(zoo: Path, zoo_data: ModuleType, tmp_path: Path) -> None:
    images, labels = zoo_data.images("imagenet_calib", 0, 6)
    prepare = zoo_data.LABELLED["mobilenet_v2"][2]
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / f"{label:04}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    model = model_file.load(zoo / "mobilenet_v2.onnx")
    spec = "resize=224 crop=224 mean=0.485,0.456,0.406 std=0.229,0.224,0.225"
    samples = open_samples(tmp_path, model, preprocess=spec)
    order = np.argsort(labels, kind="stable")
    got = np.concatenate([batch["input"] for batch in samples.batches(4)])
    np.testing.assert_allclose(got, prepare(images[order]), atol=1e-6)
    assert samples.labels is not None
    assert np.array_equal(np.unique(labels)[samples.labels], labels[order])


def test_the_zoo_s_archives_of_jpeg_bytes_are_refused(zoo: Path) -> None:
    with pytest.raises(InvalidDataError, match="'jpeg', 'offsets'; the model expects 'input' float"):
        open_samples(zoo / "imagenet_calib.npz", model_file.load(zoo / "mobilenet_v2.onnx"))
