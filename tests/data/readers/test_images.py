"""Pictures: how they become arrays, which are refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from onnxslim.core.errors import InvalidDataError, LimitError, UsageError
from onnxslim.data.sources import open_samples
from tests.support.pictures import picture

Make = Callable[..., ir.Model]
SPEC = "scale=1"


def test_images_need_to_be_told_how_they_become_arrays(classes: Path, image_model: ir.Model) -> None:
    with pytest.raises(UsageError, match="--preprocess must say how they become 'x' float"):
        open_samples(classes, image_model)


def test_what_does_not_fit_the_model_is_found_before_anything_is_decoded(
    classes: Path, image_model: ir.Model, make: Make
) -> None:
    with pytest.raises(InvalidDataError, match=r"'x' has samples of shape \(3, 4, 4\), expected \(3, 8, 8\)"):
        open_samples(classes, image_model, preprocess="crop=4")
    with pytest.raises(InvalidDataError, match=r"0\.png: 8x8 pixels are too few for a crop of 9x9"):
        open_samples(classes, image_model, preprocess="crop=9")
    with pytest.raises(InvalidDataError, match="has no names to tell them apart"):
        open_samples(classes, make(x=("FLOAT", [1, 3, 8, 8]), y=("FLOAT", [1])), preprocess=SPEC)
    (classes / "cat" / "0.png").write_bytes(b"no picture")
    with pytest.raises(InvalidDataError, match=r"0\.png is not an image"):
        open_samples(classes, image_model, preprocess=SPEC)


def test_a_truncated_picture_is_named_when_it_is_reached(classes: Path, image_model: ir.Model) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(classes / "dog" / "0.png")
    os.truncate(classes / "dog" / "0.png", 100)
    samples = open_samples(classes, image_model, preprocess=SPEC)
    with pytest.raises(InvalidDataError, match=r"dog/0\.png"):
        list(samples.batches(1))


def test_pillow_s_limit_on_pixels_holds(classes: Path, image_model: ir.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in (63, 31):  # Pillow warns above the limit and raises above twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(LimitError, match=r"0\.png: Image size"):
            open_samples(classes, image_model, preprocess=SPEC)


def test_pictures_of_many_sizes_are_fed_by_size_to_a_model_that_takes_any(tmp_path: Path, make: Make) -> None:
    for i, size in enumerate(((4, 6), (4, 6), (6, 4))):
        picture(tmp_path / f"{i}.png", i, size)
    samples = open_samples(tmp_path, make(x=("FLOAT", ["n", 3, "h", "w"])), preprocess=SPEC)
    assert [batch["x"].shape for batch in samples.batches(8)] == [(2, 3, 6, 4), (1, 3, 4, 6)]


def test_a_model_of_integers_gets_the_pixels(classes: Path, make: Make) -> None:
    samples = open_samples(classes, make(x=("UINT8", ["n", 8, 8, 3])), preprocess="layout=nhwc")
    (batch,) = samples.batches(8)
    assert batch["x"].dtype == np.uint8
    assert batch["x"][:, 0, 0, 2].tolist() == [2, 3, 12, 13, 22, 23]


def test_a_pipe_in_a_folder_of_images_does_not_hang(tmp_path: Path, image_model: ir.Model) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(InvalidDataError, match="not a regular file"):
        open_samples(tmp_path, image_model, preprocess=SPEC)


def test_a_detector_gets_the_mask_of_its_pixels_as_its_folder_says(tmp_path: Path, make: Make) -> None:
    for i, size in enumerate(((20, 30), (30, 20))):
        picture(tmp_path / f"photos/{i}.png", i, size)
    config = {
        "size": {"shortest_edge": 10, "longest_edge": 12},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "do_pad": True,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    model = make(pixel_values=("FLOAT", ["n", 3, "h", "w"]), pixel_mask=("INT64", ["n", "h", "w"]))
    samples = open_samples(tmp_path / "photos", model, input_configs=str(tmp_path))
    for feed in samples.batches(1):
        assert feed["pixel_mask"].shape == (1, *feed["pixel_values"].shape[2:])
        assert feed["pixel_mask"].all()
        assert max(feed["pixel_mask"].shape) == 12
