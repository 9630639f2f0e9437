"""Options of a folder are for the models that have what they name."""

from __future__ import annotations

import pytest

from onnxslim.data.states.pairs import AUTO
from onnxslim.model_folders.model_folder import open_model_folder
from onnxslim.pipeline.data_options import OpenedData
from onnxslim_cli.folder_options import make_configure, make_try_open
from onnxslim_cli.options.common_options import CommonOptions
from tests.support.model_folders import make_folder


@pytest.fixture
def folder(tmp_path):
    return open_model_folder(make_folder("two_unrelated", tmp_path))


def test_a_dimension_or_an_output_is_for_the_model_that_has_it(folder):
    common = CommonOptions(dim={"sequence_length": 5, "input_ids.0": 2, "none": 1}, output=("logits", "gone"))
    faces, texts = (make_configure(folder, common)(member, None) for member in folder.members)
    assert (faces.dim, faces.output) == ({"none": 1}, ("logits", "gone"))
    assert (texts.dim, texts.output) == ({"sequence_length": 5, "input_ids.0": 2, "none": 1}, ("gone",))


def test_states_of_one_model_are_none_of_the_others(folder):
    configure = make_configure(folder, CommonOptions(state={"sentence_embedding": "input_ids", AUTO: ""}))
    assert [configure(member, None).state for member in folder.members] == [{}, {"sentence_embedding": "input_ids"}]


def test_data_are_opened_with_the_options_of_the_model(folder, tmp_path):
    configure = make_configure(folder, CommonOptions(max_samples=6, seed=3))
    opened = make_try_open(folder, configure)(folder.members[0], "random")
    assert isinstance(opened, OpenedData)
    assert (opened.source, len(opened.samples), opened.seed) == ("random", 6, 3)
    assert opened.read == configure(folder.members[0], None).data_options


def test_an_option_that_fits_one_model_does_not_fail_the_folder_and_one_that_fits_none_does(run, tmp_path):
    path = make_folder("two_unrelated", tmp_path)
    outcome = run("simplify", path, "-o", tmp_path / "out", "--dim", "sequence_length=4")
    assert outcome.code == 0, outcome.err
    outcome = run("simplify", path, "-o", tmp_path / "none", "--dim", "nowhere=4")
    assert (outcome.code, "--dim nowhere" in outcome.err) == (2, True)
