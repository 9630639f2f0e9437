"""What texts begin and end with, as files say."""

from __future__ import annotations

import json

import pytest

from onnxslim.core.errors import InvalidModelError
from onnxslim.model_folders.folder_files import list_folder
from onnxslim.model_folders.pipelines.special_tokens import find_special_tokens


def find(folder, **files):
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return find_special_tokens(list_folder(folder))


@pytest.mark.parametrize(
    ("files", "start", "ends"),
    [
        ({}, (0,), set()),
        ({"config": {"bos_token_id": 3, "eos_token_id": 2}}, (3,), {2}),
        ({"config": {"decoder_start_token_id": 5, "bos_token_id": 3}}, (5,), set()),
        ({"config": {"decoder_start_token_id": 5}, "generation_config": {"decoder_start_token_id": 7}}, (7,), set()),
        ({"config": {"decoder": {"bos_token_id": 4, "eos_token_id": [1, 2]}}}, (4,), {1, 2}),
        ({"genai_config": {"model": {"bos_token_id": 9}}}, (9,), set()),
        ({"generation_config": {"bos_token_id": 1, "forced_decoder_ids": [[1, 8], [2, 6], [4, 5]]}}, (1, 8, 6), set()),
        ({"config": {"decoder_start_token_id": 2, "forced_bos_token_id": 9}}, (2, 9), set()),
        ({"config": {"decoder_start_token_id": [4, 5], "forced_bos_token_id": None}}, (4,), set()),
        ({"generation_config": {"bos_token_id": 1, "forced_decoder_ids": [[1, None], [2, 6]]}}, (1,), set()),
        ({"generation_config": {"bos_token_id": 1, "forced_decoder_ids": [[[1], 8], [1, 6]]}}, (1, 6), set()),
    ],
)
def test_the_first_file_that_says_it_counts(files, start, ends, tmp_path):
    found = find(tmp_path, **files)
    assert (found.start, found.ends) == (start, ends)
    assert (found.source is None) == (not files)


@pytest.mark.parametrize("value", ["2", -1, True, 1.5])
def test_what_is_no_token_is_named(value, tmp_path):
    with pytest.raises(InvalidModelError, match=r"config\.json: decoder_start_token_id is .*, expected the number"):
        find(tmp_path, config={"decoder_start_token_id": value})


def test_the_nearest_folder_that_says_something_is_asked(tmp_path):
    for folder, token in (("", 1), ("a", 2)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "config.json").write_text(json.dumps({"decoder_start_token_id": token}))
    (tmp_path / "a/onnx").mkdir()
    files = list_folder(tmp_path)
    starts = [find_special_tokens(files, path).start for path in ("e.onnx", "onnx/e.onnx", "a/e.onnx", "a/onnx/e.onnx")]
    assert starts == [(1,), (1,), (2,), (2,)]
