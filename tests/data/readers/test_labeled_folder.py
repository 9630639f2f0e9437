"""Folders of images and arrays, and what labels them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from onnxslim.core.errors import InvalidDataError, LimitError, UsageError
from onnxslim.data.sources import open_samples

Make = Callable[..., ir.Model]
SPEC = "scale=1"


def picture(path: Path, value: int, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value + 1, value + 2)).save(path)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Three classes of two pictures; the first channel tells class and picture."""
    for number, name in enumerate(("cat", "dog", "eel")):
        for i in range(2):
            picture(tmp_path / "images" / name / f"{i}.png", 10 * number + i)
    return tmp_path / "images"


def values(samples: object) -> list[int]:
    return [int(v) for batch in samples.batches(4) for v in batch["x"][:, 0, 0, 0]]  # type: ignore[attr-defined]


def test_sub_folders_in_order_of_name_are_the_classes(classes: Path, image_model: ir.Model) -> None:
    samples = open_samples(classes, image_model, preprocess=SPEC)
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert values(samples) == [0, 1, 10, 11, 20, 21]
    assert samples.warnings == []


def test_numbered_sub_folders_whose_order_is_not_their_number_are_warned_about(
    tmp_path: Path, image_model: ir.Model
) -> None:
    for name in ("1", "2", "10"):
        picture(tmp_path / name / "a.png", int(name))
    samples = open_samples(tmp_path, image_model, preprocess=SPEC)
    assert values(samples) == [1, 10, 2]
    assert "'1' is class 0, '2' is class 2" in samples.warnings[0]


def test_a_csv_labels_the_files_it_lists_in_its_order(classes: Path, image_model: ir.Model) -> None:
    table = classes / "list.csv"
    for text, labels, count in (("5,7", [5, 7], 0), ("0.5,1.5", [0.5, 1.5], 0), ("zebra,ant", [1, 0], 1)):
        first, second = text.split(",")
        table.write_text(f"\ufefffile,label\neel/1.png,{first}\ncat/0.png,{second}\n", encoding="utf-8")
        for source, given in ((classes, None), (table, None), (classes, str(table))):
            samples = open_samples(source, image_model, preprocess=SPEC, labels=given)
            assert samples.labels is not None
            assert samples.labels.tolist() == labels
            assert values(samples) == [21, 0]
            assert len(samples.warnings) == count


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n../../etc/a.png,1\n", "'../../etc/a.png' lies outside"),
        ("file,label\n/etc/a.png,1\n", "'/etc/a.png' lies outside"),
        ("file,label\ncat/0.txt,1\n", "'cat/0.txt' is not one of"),
        ("file,label\ncat/0.png,1\ncat/1.png\n", "row 3 has no label"),
        ("file,label\n", "lists no files"),
    ],
)
def test_a_csv_that_does_not_fit_is_named(classes: Path, image_model: ir.Model, text: str, message: str) -> None:
    (classes / "list.csv").write_text(text)
    with pytest.raises(InvalidDataError, match=message):
        open_samples(classes, image_model, preprocess=SPEC)


def test_a_csv_that_lists_a_missing_file_or_is_named_in_vain(classes: Path, image_model: ir.Model) -> None:
    (classes / "list.csv").write_text("file,label\ncat/9.png,1\n")
    with pytest.raises(UsageError, match=r"9\.png: No such file"):
        open_samples(classes, image_model, preprocess=SPEC)
    with pytest.raises(UsageError, match="labelled by a csv"):
        open_samples(classes, image_model, preprocess=SPEC, labels="y")
    (classes / "other.txt").write_text("name,class\n")
    (classes / "list.csv").write_text("name,class\n")
    with pytest.raises(InvalidDataError, match="has the columns name, class; expected the header file,label"):
        open_samples(classes, image_model, preprocess=SPEC, labels=classes / "list.csv")


def test_pictures_beside_class_folders_are_ambiguous(classes: Path, image_model: ir.Model) -> None:
    picture(classes / "loose.png", 0)
    with pytest.raises(InvalidDataError, match="unclear what the classes are"):
        open_samples(classes, image_model, preprocess=SPEC)


def test_a_flat_folder_has_no_labels_and_other_files_are_said(tmp_path: Path, image_model: ir.Model) -> None:
    picture(tmp_path / "b.png", 2)
    picture(tmp_path / "a.jpg", 1)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden").write_text("x")
    samples = open_samples(tmp_path, image_model, preprocess=SPEC)
    assert samples.labels is None
    assert len(samples) == 2
    assert samples.warnings == [f"{tmp_path}: 1 files of other kinds ignored"]


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


def test_sub_folders_may_be_groups_instead_of_classes(classes: Path, image_model: ir.Model) -> None:
    samples = open_samples(classes, image_model, preprocess=SPEC, group="subfolder")
    assert samples.labels is None
    assert samples.groups is not None
    assert samples.groups.tolist() == ["cat", "cat", "dog", "dog", "eel", "eel"]


def test_a_folder_of_arrays_holds_samples_or_batches_and_their_classes(tmp_path: Path, make: Make) -> None:
    model = make(x=("FLOAT", ["n", 2]), sr=("INT64", []))
    for name, rows in (("a/0", 1), ("a/1", 3), ("b/0", 2)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.savez(tmp_path / f"{name}.npz", x=np.full((rows, 2), rows, np.float32), sr=np.array(8))
    samples = open_samples(tmp_path, model)
    assert len(samples) == 6
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 0, 0, 0, 1, 1]
    (batch,) = samples.batches(8)
    assert batch["x"][:, 0].tolist() == [1, 3, 3, 3, 2, 2]


def test_a_folder_of_feeds_that_cannot_be_stacked_is_fed_file_by_file(tmp_path: Path, make: Make) -> None:
    model = make(x=("FLOAT", ["batch", 2]), state=("FLOAT", [2, "b", 3]))
    for i in range(3):
        np.savez(tmp_path / f"{i}.npz", x=np.zeros((1, 2), np.float32), state=np.full((2, 1, 3), i, np.float32))
    samples = open_samples(tmp_path, model)
    assert [batch["state"].shape for batch in samples.batches(2)] == [(2, 1, 3)] * 3


def test_one_npy_for_each_input_is_an_unpacked_npz(tmp_path: Path, make: Make) -> None:
    model = make(x=("FLOAT", ["n", 2]), y=("FLOAT", ["n"]))
    np.save(tmp_path / "x.npy", np.zeros((3, 2), np.float32))
    np.save(tmp_path / "y.npy", np.arange(3, dtype=np.float32))
    np.save(tmp_path / "labels.npy", np.arange(3))
    samples = open_samples(tmp_path, model)
    assert len(samples) == 3
    assert samples.labels is not None


def test_files_of_a_folder_that_differ_in_their_keys_are_named(tmp_path: Path, make: Make) -> None:
    np.savez(tmp_path / "0.npz", x=np.zeros(2), y=np.zeros(2))
    np.savez(tmp_path / "1.npz", x=np.zeros(2))
    with pytest.raises(InvalidDataError, match=r"1\.npz holds x; those before hold x, y"):
        open_samples(tmp_path, make(x=("FLOAT", ["n", 2]), y=("FLOAT", ["n", 2])))


def test_an_empty_folder_is_no_data(tmp_path: Path, image_model: ir.Model) -> None:
    with pytest.raises(UsageError, match="is not data this tool reads"):
        open_samples(tmp_path, image_model)


def test_a_pipe_in_a_folder_of_images_does_not_hang(tmp_path: Path, image_model: ir.Model) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(InvalidDataError, match="not a regular file"):
        open_samples(tmp_path, image_model, preprocess=SPEC)
