"""One verdict of a folder: what each model's own comes to, and what the other files say."""

from __future__ import annotations

import shutil

import pytest

from onnxslim.core.errors import GateError, InconclusiveError
from onnxslim.model_folders.folder_comparison import compare_folders
from onnxslim.model_folders.model_folder import open_model_folder
from onnxslim.pipeline.result import Result
from onnxslim.verification.check import Check
from onnxslim.verification.data_record import DataRecord
from onnxslim.verification.examination import Examination, describe_examination
from onnxslim.verification.folder_verification import verify_folder
from onnxslim.verification.receipt import SCHEMA, ModelRecord, Receipt, Settings
from tests.support.model_folders import make_folder

DATA = DataRecord("d.npz", 8, "1" * 64)


def make_result(verdict: str, data: DataRecord | None = DATA) -> Result:
    """What a verification of one model would give."""
    record = ModelRecord("m.onnx", {"m.onnx": "0" * 64})
    made = Receipt(SCHEMA, "cannot tell", record, record, data, Settings(), 0, "steps: []")
    found = Examination([Check("drop of top1", verdict, "as it is", 0.0, (0.0, 0.1), 0.01)])
    return Result("verify", extra=describe_examination(found, made, "fail"))


@pytest.fixture
def folders(tmp_path):
    original = make_folder("two_unrelated", tmp_path)
    candidate = shutil.copytree(original, tmp_path / "out")
    with open(candidate / "faces.onnx", "ab") as file:
        file.write(b"\x12\x04test")
    return open_model_folder(candidate), open_model_folder(original)


@pytest.mark.parametrize(("verdict", "error"), [("pass", None), ("fail", GateError), ("cannot tell", InconclusiveError)])
def test_the_folder_ends_as_the_worst_of_its_models(verdict, error, folders):
    asked = []

    def work(pair):
        asked.append(pair.candidate.path)
        result = make_result(verdict)
        if error is not None:
            failure = error("so it is")
            failure.result = result
            raise failure
        return result

    call = (*folders, compare_folders(*folders), work)
    if error is None:
        result = verify_folder(*call, asked=Settings())
    else:
        with pytest.raises(error) as caught:
            verify_folder(*call, asked=Settings())
        result = caught.value.result
    assert asked == ["faces.onnx"]  # the other is the same
    document = result.as_json()
    assert document["verification"]["verdict"] == document["receipt"]["verdict"] == verdict
    assert [model["fate"] for model in document["folder"]["models"]] == [verdict, "pass"]
    assert document["receipt"]["models"]["faces.onnx"]["data"]["n"] == 8
    assert document["receipt"]["candidate"]["files"].keys() == {"faces.onnx", "texts.onnx", "notes.md"}


def test_a_plan_tells_of_each_model_what_it_takes_or_why_it_fails_already(folders):
    call = (*folders, compare_folders(*folders))
    planned = Result("verify", recipe="about 9 samples\n")
    failed = Result("verify", recipe="steps: []\n", extra={"summary": "fail: load: it does not"})
    for found, told in ((planned, "about 9 samples"), (failed, "fail: load: it does not")):
        result = verify_folder(*call, lambda pair, found=found: found, asked=Settings(), only_plan=True)
        assert result.recipe == f"faces.onnx: {told}\n"


def test_what_cannot_be_told_may_be_let_through(folders):
    result = verify_folder(
        *folders, compare_folders(*folders), lambda pair: make_result("cannot tell", None), asked=Settings(),
        inconclusive="pass",
    )  # fmt: skip
    assert result.as_json()["verification"]["verdict"] == "cannot tell"
