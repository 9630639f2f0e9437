"""Preprocessing: the spec is read strictly, and does to an image what torchvision's transforms do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from onnxslim.core.errors import UsageError
from onnxslim.data.preprocessing.image_transform import Preprocess, parse_spec

IMAGENET = "resize=256 crop=224 mean=0.485,0.456,0.406 std=0.229,0.224,0.225"


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    channels = {"RGB": (3,), "RGBA": (4,), "L": ()}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, *channels), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_the_words_of_a_spec_are_what_is_done() -> None:
    assert parse_spec(
        "resize=256 crop=224 scale=1 mean=1,2,3 std=4,5,6 layout=nhwc color=bgr interpolation=bicubic"
    ) == Preprocess(256, (224, 224), 1.0, (1, 2, 3), (4, 5, 6), "nhwc", "bgr", "bicubic")
    assert parse_spec("resize=8x16 crop=4x6 color=gray mean=0.5") == Preprocess((8, 16), (4, 6), mean=(0.5,), color="gray")
    assert parse_spec("") == Preprocess()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "size=3",
            "unknown 'size=3', expected KEY=VALUE with resize, crop, scale, mean, std, layout, color, inter",
        ),
        ("resize", "unknown 'resize', expected KEY=VALUE"),
        ("resize=0", "resize=0, expected a length"),
        ("resize=1x2x3", "resize=1x2x3, expected a length"),
        ("crop=-4", "crop=-4, expected a length"),
        ("scale=0", "scale=0, expected a number above 0"),
        ("scale=nan", "scale=nan, expected a number above 0"),
        ("mean=a,b", "mean=a,b, expected numbers"),
        ("mean=1,2", "mean has 2 numbers, expected 1 or 3"),
        ("mean=1,2,3 color=gray", "mean has 3 numbers, expected 1 or 1"),
        ("std=1,0,1", "std=1,0,1, expected numbers other than 0"),
        ("layout=chw", "layout=chw, expected nchw or nhwc"),
        ("color=hsv", "color=hsv, expected rgb or bgr or gray"),
        ("interpolation=cubic", "interpolation=cubic, expected nearest or"),
        ("crop=2 crop=3", "crop is given twice"),
    ],
)
def test_a_wrong_word_is_named_with_what_was_expected(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^--preprocess: {message}"):
        parse_spec(spec)


def test_normalisation_is_divide_by_scale_subtract_mean_divide_by_std() -> None:
    image = picture(224, 224)
    got = parse_spec(IMAGENET.replace("resize=256 crop=224 ", "")).apply(image)
    plain = (np.asarray(image) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, plain.transpose(2, 0, 1), rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(1, 30))
def test_resize_keeps_the_aspect_and_crop_takes_the_centre(width: int, height: int, resize: int, crop: int) -> None:
    image = picture(width, height)
    steps = parse_spec(f"resize={resize} crop={crop} scale=1")
    # torchvision's Resize(int) and CenterCrop, in their own words.
    short, long = min(width, height), max(width, height)
    size = (resize, int(resize * long / short)) if width <= height else (int(resize * long / short), resize)
    if crop > resize:
        with pytest.raises(ValueError, match="too few for a crop"):
            steps.apply(image)
        return
    left, top = round((size[0] - crop) / 2.0), round((size[1] - crop) / 2.0)
    resized = np.asarray(image.resize(size, Image.Resampling.BILINEAR), np.float32)
    got = steps.apply(image)
    assert got.shape == steps.shape(width, height) == (3, crop, crop)
    assert np.array_equal(got, resized[top : top + crop, left : left + crop].transpose(2, 0, 1))


def test_colors_and_layouts_are_permutations_of_the_same_numbers() -> None:
    image = picture(5, 4)
    pixels = np.asarray(image, np.float32)
    assert np.array_equal(parse_spec("scale=1 layout=nhwc").apply(image), pixels)
    assert np.array_equal(parse_spec("scale=1 layout=nhwc color=bgr").apply(image), pixels[..., ::-1])
    assert np.array_equal(parse_spec("scale=1").apply(image), pixels.transpose(2, 0, 1))
    assert np.array_equal(parse_spec("scale=1 color=gray").apply(image)[0], np.asarray(image.convert("L")))
    assert np.array_equal(parse_spec("scale=1").apply(picture(5, 4, "L"))[1], np.asarray(picture(5, 4, "L")))
    assert parse_spec("color=gray layout=nhwc").shape(5, 4) == (4, 5, 1)


def test_pixels_stay_pixels_for_a_model_that_takes_integers() -> None:
    image = picture(5, 4)
    raw = parse_spec("resize=4x5 layout=nhwc").as_raw_pixels()
    assert raw.apply(image).dtype == np.uint8
    assert np.array_equal(raw.apply(image), np.asarray(image))
    with pytest.raises(UsageError, match="make no sense for a model that takes integer pixels"):
        parse_spec("mean=0.5").as_raw_pixels()


def test_an_image_of_more_than_8_bits_is_not_clipped_in_silence() -> None:
    deep = Image.fromarray(np.full((4, 4), 40000, np.uint16))
    with pytest.raises(ValueError, match="more than 8 bits"):
        parse_spec("").apply(deep)


def test_exif_orientation_is_left_alone_as_torchvision_does() -> None:
    image = picture(6, 4)
    image.getexif()[0x0112] = 6
    assert parse_spec("").apply(image).shape == (3, 4, 6)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((640, 480), (800, 1066)), ((480, 640), (1066, 800)), ((2000, 500), (333, 1333)), ((500, 2000), (1333, 333)),
     ((800, 900), (900, 800))],
)  # fmt: skip
def test_a_bounded_longer_side_makes_the_shorter_one_give_way(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert Preprocess(resize=800, longest=1333).shape(*size)[1:] == expected
