"""What a search keeps on disk, and that nothing of it is lost."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError, LimitError, UsageError
from onnxslim.model_io import model_file
from onnxslim.search.study import Study
from tests.support.paths import SAMPLES

MODEL = SAMPLES / "digits_mlp.onnx"
ABOUT = {"model": "abc", "data": "def"}


def test_a_finished_trial_is_there_the_next_time_with_its_model(tmp_path: Path, digits: ir.Model) -> None:
    with Study(tmp_path / "study", ABOUT) as study:
        study.add("int8", "steps: []", {"drop": 0.5}, digits)
    with Study(tmp_path / "study", ABOUT) as study:
        assert len(study) == 1
        found = study.find("steps: []")
        assert found is not None
        outcome, path = found
        assert outcome == {"drop": 0.5}
        assert path is not None
        assert model_file.to_bytes(model_file.load(path)) == model_file.to_bytes(digits)
        assert study.find("steps: [simplify]") is None


def test_a_trial_whose_model_is_gone_is_tried_again(tmp_path: Path, digits: ir.Model) -> None:
    with Study(tmp_path, ABOUT) as study:
        study.add("int8", "steps: []", {}, digits)
        found = study.find("steps: []")
        assert found is not None
        assert found[1] is not None
        Path(found[1]).unlink()
        assert study.find("steps: []") is None
        study.add("int8", "steps: []", {}, digits)
        assert study.find("steps: []") is not None


def test_a_temporary_study_lets_models_go_and_keeps_the_figures(tmp_path: Path, digits: ir.Model) -> None:
    with Study(tmp_path / "own", {}, is_temporary=True) as own, Study(tmp_path / "asked", ABOUT) as asked:
        for study in (own, asked):
            for recipe in ("steps: []", "steps: [simplify]"):
                study.add("int8", recipe, {"recipe": recipe}, digits)
            study.release_model("steps: []")
            study.release_model("steps: [of nobody]")
        assert own.find("steps: []") == ({"recipe": "steps: []"}, None)
        assert [len(list(study.rglob("*.onnx"))) for study in (tmp_path / "own", tmp_path / "asked")] == [1, 2]
        for study, recipe in ((own, "steps: [simplify]"), (asked, "steps: []")):
            found = study.find(recipe)
            assert found is not None
            assert found[1] is not None
            model_file.load(found[1])


def test_what_there_is_little_room_for_a_temporary_study_keeps_the_figures_of(
    tmp_path: Path, digits: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = model_file.count_tensor_bytes(digits)
    for free, is_kept in ((100 * size, True), (2 * size, False)):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        with Study(tmp_path / str(free), {}, is_temporary=True) as study:
            study.add("int8", "steps: []", {"drop": 0.5}, digits)
            found = study.find("steps: []")
            assert found is not None
            assert found[0] == {"drop": 0.5}
            assert (found[1] is not None) == is_kept
    with Study(tmp_path / "asked", ABOUT) as study:
        study.add("int8", "steps: []", {}, digits)
        found = study.find("steps: []")
        assert found is not None
        assert found[1] is not None


def test_a_full_disk_ends_only_a_search_that_was_asked_to_keep_all(
    tmp_path: Path, digits: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Study(tmp_path / "own", {}, is_temporary=True) as own, Study(tmp_path / "asked", ABOUT) as asked:
        for study in (own, asked):
            study._db.execute("PRAGMA max_page_count = 1")
        large = {"text": "x" * 100_000}
        own.add("int8", "steps: []", large, None)
        assert own.find("steps: []") is None
        with pytest.raises(LimitError, match="full"):
            asked.add("int8", "steps: []", large, None)

        def save(*_: object) -> None:
            raise LimitError("no space left")

        monkeypatch.setattr(model_file, "save", save)
        own._db.execute("PRAGMA max_page_count = 1000")
        own.add("int8", "steps: []", {}, digits)
        assert own.find("steps: []") == ({}, None)
        with pytest.raises(LimitError, match="no space left"):
            asked.add("int8", "steps: []", {}, digits)

        def make(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "makedirs", make)
        with pytest.raises(LimitError, match="No space left on device"):
            asked.add("int8", "steps: []", {}, digits)


def test_another_model_needs_another_folder(tmp_path: Path) -> None:
    Study(tmp_path, ABOUT).__exit__()
    with pytest.raises(UsageError, match="another data"):
        Study(tmp_path, {**ABOUT, "data": "other"})


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.sqlite").write_bytes(b"not a database, and long enough to be read as one" * 40)
    with pytest.raises(InvalidDataError, match="not a study"):
        Study(tmp_path, ABOUT)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--study"):
        Study(tmp_path / "file" / "study", ABOUT)
    with pytest.raises(UsageError, match="--study: an empty name"):
        Study("", ABOUT)
