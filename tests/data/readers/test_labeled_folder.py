"""Folders of images and arrays, and what labels them."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.sources import open_samples
from tests.support.pictures import picture

SPEC = "scale=1"


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


def test_names_in_a_csv_have_the_numbers_of_the_models_configuration(
    classes: Path, image_model: ir.Model, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"id2label": {"0": "zebra", "1": "ant", "7": "yak"}}')
    for names, numbers in (("zebra,ant", [0, 1]), ("ant,7", [0, 1]), ("7,0", [7, 0])):
        text = "file,label\neel/1.png,{}\ncat/0.png,{}\n".format(*names.split(","))
        (classes / "list.csv").write_text(text)
        samples = open_samples(classes, image_model, preprocess=SPEC, input_configs=str(tmp_path))
        assert samples.labels is not None
        # one name that the configuration does not know, and all are counted in order of name; numbers are numbers
        assert samples.labels.tolist() == (numbers if names != "ant,7" else [1, 0])


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


def test_sub_folders_may_be_groups_instead_of_classes(classes: Path, image_model: ir.Model) -> None:
    samples = open_samples(classes, image_model, preprocess=SPEC, group="subfolder")
    assert samples.labels is None
    assert samples.groups is not None
    assert samples.groups.tolist() == ["cat", "cat", "dog", "dog", "eel", "eel"]


def test_an_empty_folder_is_no_data(tmp_path: Path, image_model: ir.Model) -> None:
    with pytest.raises(UsageError, match="is not data this tool reads"):
        open_samples(tmp_path, image_model)
