"""Which files of a folder serve together."""

from __future__ import annotations

import shutil

import onnx_ir as ir
import pytest

from onnxslim.graph.editor import GraphEditor
from onnxslim.model_folders.model_folder import open_model_folder
from onnxslim.model_folders.pipelines.encoder_decoder import find_encoder_decoders
from onnxslim.model_io import model_file
from tests.support.decoders import WIDTH, make_decoder
from tests.support.folder_models import make_text_encoder
from tests.support.model_folders import make_folder, save

PARTS = ["encoder_model", "decoder_model", "decoder_with_past_model"]


def find(path):
    folder = open_model_folder(path)
    found = find_encoder_decoders(folder.members, lambda member: model_file.load(folder.find(member)))
    assert len(found) < 2
    return found[0] if found else None


@pytest.mark.parametrize(
    ("name", "encoder", "decoders"),
    [
        ("encoder_decoder", "encoder_model.onnx", [["decoder_model.onnx"]]),
        ("encoder_and_merged_decoder", "onnx/encoder_model.onnx", [["onnx/decoder_model_merged.onnx"]]),
        ("decoder_with_past", "encoder_model.onnx", [["decoder_model.onnx", "decoder_with_past_model.onnx"]]),
    ],
)
def test_files_are_told_by_what_they_take_and_give(name, encoder, decoders, tmp_path):
    found = find(make_folder(name, tmp_path))
    assert (found.encoder.path, found.states, found.mask) == (encoder, "last_hidden_state", "attention_mask")
    assert [[file.member.path for file in one.files] for one in found.decoders] == decoders
    assert all(one.first.scores == "logits" for one in found.decoders)


def test_a_merged_decoder_beside_one_of_two_files_is_another_decoder(tmp_path):
    folder = make_folder("decoder_with_past", tmp_path)
    save(make_decoder(merged=True, cross=True), folder / "decoder_model_merged.onnx")
    assert [[file.member.path for file in one.files] for one in find(folder).decoders] == [
        ["decoder_model.onnx", "decoder_with_past_model.onnx"], ["decoder_model_merged.onnx"],
    ]  # fmt: skip


def test_a_file_for_further_tokens_that_takes_the_states_too_begins_no_text(tmp_path):
    """As older exports have it, with the encoder's caches handed through."""
    folder = make_folder("decoder_with_past", tmp_path)
    step = make_decoder(cross=True, part="step")
    step.graph.inputs.append(ir.val("encoder_hidden_states", ir.DataType.FLOAT, ["batch_size", "frames", WIDTH]))
    caches = [value for value in step.graph.inputs if ".encoder." in value.name]
    editor = GraphEditor(step.graph)
    for cache in caches:
        name = cache.name.replace("past_key_values", "present")
        step.graph.outputs.append(editor.add_node("Identity", cache, name=name, dtype=cache.dtype, shape=cache.shape))
        step.graph.outputs[-1].name = name
    save(step, folder / "decoder_with_past_model.onnx")
    (decoder,) = find(folder).decoders
    assert [file.member.path for file in decoder.files] == ["decoder_model.onnx", "decoder_with_past_model.onnx"]
    assert {*decoder.handed.values()} == {*decoder.step.caches.values()} >= {cache.name for cache in caches}


@pytest.mark.parametrize("name", ["text_encoder", "merged_decoder", "two_unrelated", "triton"])
def test_what_reads_no_states_is_no_pipeline(name, tmp_path):
    assert find(make_folder(name, tmp_path)) is None


def test_of_two_encoders_the_one_that_is_called_so_is_meant_and_else_none(tmp_path):
    folder = make_folder("encoder_decoder", tmp_path)
    save(make_text_encoder(seed=1), folder / "other.onnx")
    assert find(folder).encoder.path == "encoder_model.onnx"
    (folder / "encoder_model.onnx").rename(folder / "one.onnx")
    assert find(folder) is None


@pytest.mark.parametrize(
    "names",
    [
        [f"{size}/{part}.onnx" for size in ("base", "small") for part in PARTS],
        [f"{part}_{size}.onnx" for size in ("base", "small") for part in PARTS],
        [f"{size}-{part}.onnx" for size in ("base", "small") for part in PARTS],
        [f"{part}/{size}/model.onnx" for size in ("1", "2") for part in PARTS],
    ],
)
def test_parts_of_several_sets_are_not_mixed(names, tmp_path):
    """Those of two files each, whose second fits the first of either."""
    sources = make_folder("decoder_with_past", tmp_path / "one")
    (tmp_path / "in").mkdir()
    for name, part in zip(names, PARTS * 2, strict=True):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sources / f"{part}.onnx", tmp_path / "in" / name)
    folder = open_model_folder(tmp_path / "in")
    found = find_encoder_decoders(folder.members, lambda member: model_file.load(folder.find(member)))
    assert [list(one.paths) for one in found] == [names[:3], names[3:]]


def test_a_second_decoder_of_another_name_reads_the_same_encoder_with_its_own_second_file(tmp_path):
    folder = make_folder("decoder_with_past", tmp_path)
    for part in PARTS[1:]:
        shutil.copy(folder / f"{part}.onnx", folder / f"{part}_beam.onnx")
    assert [[file.member.path for file in one.files] for one in find(folder).decoders] == [
        ["decoder_model.onnx", "decoder_with_past_model.onnx"],
        ["decoder_model_beam.onnx", "decoder_with_past_model_beam.onnx"],
    ]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ("a_encoder", "b_encoder", "decoder_model"),
            ["decoder_model.onnx: its encoder could be a_encoder.onnx or b_encoder.onnx"],
        ),
        (("encoder_model", "decoder_model"), []),
        (("decoder_model",), []),
        (
            ("small/encoder", "small/decoder", "big/left_encoder", "big/right_encoder", "big/decoder"),
            ["big/decoder.onnx: its encoder could be big/left_encoder.onnx or big/right_encoder.onnx"],
        ),
    ],
)
def test_a_decoder_whose_encoder_is_not_clear_is_told(names, said, tmp_path):
    parts, path = make_folder("encoder_decoder", tmp_path / "parts"), tmp_path / "some"
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        part = "decoder_model" if "decoder" in name else "encoder_model"
        shutil.copy(parts / f"{part}.onnx", path / f"{name}.onnx")
    folder, lines = open_model_folder(path), []
    found = find_encoder_decoders(folder.members, lambda member: model_file.load(folder.find(member)), lines.append)
    assert [line.split(": it is judged by itself")[0] for line in lines] == said
    assert len(found) == sum("small" in name or name == "encoder_model" for name in names[:1])
