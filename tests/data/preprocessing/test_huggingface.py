"""Hugging Face's preprocessor configs, as their processors understand them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from onnxslim.core.errors import InvalidDataError, OnnxslimError, UnsupportedError
from onnxslim.data.preprocessing import huggingface
from onnxslim.data.preprocessing.image_transform import Preprocess
from onnxslim.data.sources import open_samples

HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
HALVES = ((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (  # ViT: both sides
            {"size": {"height": 224, "width": 192}, "resample": 2, **HALF},
            Preprocess((224, 192), None, 255.0, *HALVES),
        ),
        (  # CLIP: the shorter side, then the centre
            {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True,
             "resample": 3, **HALF},
            Preprocess(224, (224, 224), 255.0, *HALVES, interpolation="bicubic"),
        ),
        ({"size": 224, **HALF}, Preprocess((224, 224), None, 255.0, *HALVES)),
        (
            {"size": 256, "crop_size": 224, "do_center_crop": True, "resample": 0, **HALF},
            Preprocess(256, (224, 224), 255.0, *HALVES, interpolation="nearest"),
        ),
        (  # ConvNeXT below and from 384
            {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3, **HALF},
            Preprocess(256, (224, 224), 255.0, *HALVES, interpolation="bicubic"),
        ),
        (
            {"size": {"shortest_edge": 384}, "crop_pct": 0.875, **HALF},
            Preprocess((384, 384), None, 255.0, *HALVES),
        ),
        (  # MobileViT: BGR, not normalised
            {"size": {"shortest_edge": 288}, "crop_size": {"height": 256, "width": 256}, "do_center_crop": True,
             "do_flip_channel_order": True, "do_normalize": False},
            Preprocess(288, (256, 256), 255.0, color="bgr"),
        ),
        (  # DETR: the longer side bounded; a batch of one is not padded
            {"size": {"shortest_edge": 800, "longest_edge": 1333}, "do_pad": True, **HALF},
            Preprocess(800, None, 255.0, *HALVES, longest=1333),
        ),
        ({"do_resize": False, "do_rescale": False, "size": 8, **HALF}, Preprocess(None, None, 1.0, *HALVES)),
    ],
)  # fmt: skip
def test_a_config_says_what_its_processor_does(tmp_path: Path, config: dict[str, Any], expected: Preprocess) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255} | config))
    assert huggingface.read_config(path) == expected


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('{"do_pad": true}', UnsupportedError, "do_pad cannot be done here"),
        ('{"size": {"longest_edge": 1333}}', UnsupportedError, "longest_edge cannot"),
        ('{"size": {"height": 8, "width": 8}, "do_pad": true}', UnsupportedError, "do_pad cannot"),
        ('{"do_center_crop": true}', InvalidDataError, "not a preprocessor_config.json: KeyError"),
        ('{"size": "large"}', InvalidDataError, "not a preprocessor_config.json"),
        ('{"rescale_factor": 0}', InvalidDataError, "not a preprocessor_config.json: ZeroDivision"),
        ("[]", InvalidDataError, "not a preprocessor_config.json"),
        ("{", InvalidDataError, "not a preprocessor_config.json"),
    ],
)
def test_a_config_that_cannot_be_followed_is_refused(
    tmp_path: Path, text: str, error: type[OnnxslimError], message: str
) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(error, match=message):
        huggingface.read_config(path)


def test_a_path_in_place_of_a_spec_is_read(tmp_path: Path, image_model: ir.Model) -> None:
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "a.png")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(HALF))
    samples = open_samples(tmp_path, image_model, preprocess=str(tmp_path / "preprocessor_config.json"))
    (batch,) = samples.batches(1)
    assert np.unique(batch["x"][0, 0]).tolist() == [1]
    assert np.unique(batch["x"][0, 1]).tolist() == [-1]
