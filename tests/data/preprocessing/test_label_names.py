"""Names of classes as a model's configuration numbers them."""

from __future__ import annotations

import json

import pytest

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.preprocessing.label_names import number_labels


@pytest.mark.parametrize(
    "config",
    [
        {"label2id": {"dog": 0, "cat": 1}},
        {"label2id": {"dog": "0", "cat": "1"}},
        {"id2label": {"0": "dog", "1": "cat"}},
        {"id2label": {"0": "dog", "1": "cat"}, "label2id": {}},
    ],
)
def test_the_configuration_numbers_the_names_in_either_direction(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    labels = number_labels(["cat", "dog", "cat"], str(tmp_path))
    assert labels is not None
    assert labels.tolist() == [1, 0, 1]
    assert number_labels(["cat", "bird"], str(tmp_path)) is None


def test_without_a_configuration_nothing_is_known(tmp_path):
    assert number_labels(["cat"], None) is None
    assert number_labels(["cat"], str(tmp_path)) is None
    for content in ("{}", "[]", '{"label2id": {"cat": "x"}}'):
        (tmp_path / "config.json").write_text(content)
        assert number_labels(["cat"], str(tmp_path)) is None
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InvalidDataError, match=r"config\.json: not JSON"):
        number_labels(["cat"], str(tmp_path))
