"""Near duplicates: found where they were planted, and nowhere else."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from onnxslim.data.near_duplicates import find_near_duplicates
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples

Make = Callable[..., ir.Model]


def of(model: ir.Model, x: np.ndarray) -> Samples:
    return open_samples({"x": x.astype(np.float32)}, model)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_samples_with_a_little_noise_are_found_and_no_others(make: Make, offset: float) -> None:
    model = make(x=("FLOAT", ["n", 40, 50]))
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 60, 40, 50)) + offset
    assert find_near_duplicates(of(model, a), of(model, b)) is None
    b[[7, 33]] = a[[5, 50]] + 0.03 * rng.standard_normal((2, 40, 50))
    warning = find_near_duplicates(of(model, a), of(model, b))
    assert warning is not None
    assert warning.startswith("2 of 60 samples")
    assert "5 ~ 7, 50 ~ 33)" in warning


def test_more_samples_than_a_block_keep_their_indices(make: Make) -> None:
    model = make(x=("FLOAT", ["n", 100]))
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((1100, 100)), rng.standard_normal((3, 100))
    b[1] = a[1050] * 1.01
    assert "1050 ~ 1)" in (find_near_duplicates(of(model, a), of(model, b)) or "")


def test_tables_integers_and_constants_are_not_compared(make: Make) -> None:
    rows = np.random.default_rng(0).standard_normal((200, 4))
    model = make(x=("FLOAT", ["n", 4]))
    assert find_near_duplicates(of(model, rows[:100]), of(model, rows[100:])) is None
    model = make(x=("FLOAT", ["n", 100]))
    assert find_near_duplicates(of(model, np.ones((3, 100))), of(model, np.ones((3, 100)))) is None
    ids = make(x=("INT64", ["n", 100]))
    assert find_near_duplicates(*[open_samples(np.arange(300).reshape(3, 100), ids)] * 2) is None


def test_sets_of_samples_of_other_lengths_are_compared(make: Make) -> None:
    model = make(x=("FLOAT", ["n", "t"]))
    rows = [np.random.default_rng(n).standard_normal(n).astype(np.float32) for n in (100, 150, 200)]
    a, b = open_samples(rows, model), open_samples([rows[1] * 1.01, rows[0][:90]], model)
    assert "(by index: 1 ~ 0)" in (find_near_duplicates(a, b) or "")


def test_photographs_saved_again_are_found_among_others(zoo: Path, zoo_data: ModuleType, make: Make) -> None:
    images, _ = zoo_data.images("imagenet_calib", 0, 60)
    model = make(x=("FLOAT", ["n", 3, 224, 224]))

    def again(image: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=50)
        return np.asarray(Image.open(file))

    a = of(model, images[:30].transpose(0, 3, 1, 2) / 255)
    assert find_near_duplicates(a, of(model, images[30:].transpose(0, 3, 1, 2) / 255)) is None
    resaved = np.stack([again(image) for image in images[10:20]]).transpose(0, 3, 1, 2) / 255
    found = find_near_duplicates(a, of(model, resaved))
    assert found is not None
    assert found.startswith("10 of 10 samples")
