"""Several models with one data file."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.model_io import model_file
from onnxslim.model_io.external_data.shared_data import save_sharing
from tests.support import nets


def read_weights(model):
    return {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}


def test_equal_tensors_are_stored_once_and_read_as_they_were(tmp_path):
    (tmp_path / "sub").mkdir()
    models = {str(tmp_path / "a.onnx"): nets.mlp((64, 64, 64)), str(tmp_path / "b.onnx"): nets.mlp((64, 64, 64))}
    alone = nets.mlp((64, 64, 64))
    save_sharing({str(tmp_path / "alone.onnx"): alone}, str(tmp_path / "alone.bin"))
    save_sharing(models, str(tmp_path / "sub/weights.bin"))
    assert (tmp_path / "sub/weights.bin").stat().st_size == (tmp_path / "alone.bin").stat().st_size
    for path, model in models.items():
        for name, weights in read_weights(model_file.load(path)).items():
            np.testing.assert_array_equal(weights, read_weights(model)[name])
        assert model_file.find_data_files(path).keys() == {"sub/weights.bin"}


def test_models_without_large_tensors_need_no_data_file(tmp_path):
    save_sharing({str(tmp_path / "a.onnx"): nets.mlp((4, 4, 4))}, str(tmp_path / "a.bin"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_data_outside_the_folder_of_a_model_are_refused(tmp_path):
    (tmp_path / "sub").mkdir()
    with pytest.raises(ValueError, match="outside the folder"):
        save_sharing({str(tmp_path / "sub/a.onnx"): nets.mlp()}, str(tmp_path / "a.bin"))
