"""sentence-transformers' modules: inside the folder, and pooling as wide as the states."""

from __future__ import annotations

import json

import pytest

from onnxslim.core.errors import InvalidModelError
from onnxslim.model_folders.model_folder import open_model_folder
from tests.support.model_folders import make_folder


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "C:\\models", "1_Pooling/../../x"])
def test_a_module_outside_the_folder_is_refused(path, tmp_path):
    folder = make_folder("sentence_transformers", tmp_path)
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "path": path, "type": "Transformer"}]))
    with pytest.raises(InvalidModelError, match="the path of module 0"):
        open_model_folder(folder)


def test_pooling_reads_states_of_its_width(tmp_path):
    folder = make_folder("sentence_transformers", tmp_path)
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 384}))
    with pytest.raises(InvalidModelError, match="word_embedding_dimension is 384, the states are 16 wide"):
        open_model_folder(folder)
