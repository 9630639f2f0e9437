"""What a search keeps on disk, and that nothing of it is lost."""

from __future__ import annotations

from pathlib import Path

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


def test_of_large_models_none_is_kept_where_that_was_asked_for(tmp_path: Path, digits: ir.Model) -> None:
    with Study(tmp_path, ABOUT, max_bytes=model_file.count_tensor_bytes(digits)) as study:
        study.add("int8", "steps: []", {}, digits)
        assert study.find("steps: []") is not None
    with Study(tmp_path, ABOUT, max_bytes=model_file.count_tensor_bytes(digits) - 1) as study:
        study.add("int8", "steps: [simplify]", {}, digits)
        study.add("int8", "steps: [quantize]", {"error": "none"}, None)
        assert study.find("steps: [simplify]") is None
        assert study.find("steps: [quantize]") == ({"error": "none"}, None)


def test_a_full_disk_ends_only_a_search_that_was_asked_to_keep_all(
    tmp_path: Path, digits: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Study(tmp_path / "own", {}, max_bytes=1 << 30) as own, Study(tmp_path / "asked", ABOUT) as asked:
        for study in (own, asked):
            study._db.execute("PRAGMA max_page_count = 1")
        large = {"text": "x" * 100_000}
        own.add("int8", "steps: []", large, None)
        with pytest.raises(LimitError, match="full"):
            asked.add("int8", "steps: []", large, None)

        def save(*_: object) -> None:
            raise LimitError("no space left")

        monkeypatch.setattr(model_file, "save", save)
        own.add("int8", "steps: []", {}, digits)
        assert own.find("steps: []") is None
        with pytest.raises(LimitError, match="no space left"):
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
