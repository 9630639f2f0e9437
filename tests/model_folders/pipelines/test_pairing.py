"""Which files are one set, by their paths."""

from __future__ import annotations

import pytest

from onnxslim.model_folders.pipelines.pairing import divide_into_sets, find_set_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("encoder_model.onnx", ()),
        ("onnx/decoder_model_merged.onnx", ("onnx",)),
        ("größe/decoder_with_past_model_v2.onnx", ("größe", "v2")),
        ("whisper-encoder/1/EncoderModel.onnx", ("whisper", "1")),
        ("t5DecoderModel.onnx", ("t5",)),
        ("日本/encoder.onnx", ("日本",)),
    ],
)
def test_what_tells_the_parts_apart_is_no_part_of_the_name(path, name):
    assert find_set_name(path) == name


def is_set(paths):
    return any("encoder" in path for path in paths) and any("decoder" in path for path in paths)


@pytest.mark.parametrize(
    ("paths", "sets"),
    [
        (["a/encoder", "a/decoder", "b/encoder", "b/decoder"], [["a/encoder", "a/decoder"], ["b/encoder", "b/decoder"]]),
        (["encoder", "decoder", "encoder_v2", "decoder_v2", "decoder_v2_beam"],
         [["encoder", "decoder"], ["encoder_v2", "decoder_v2", "decoder_v2_beam"]]),
        (["encoder", "x/decoder"], [["encoder", "x/decoder"]]),
        (["encoder", "decoder", "decoder_beam"], [["encoder", "decoder", "decoder_beam"]]),
        ([], [[]]),
    ],
)  # fmt: skip
def test_sets_are_whole_and_strays_go_to_the_nearest(paths, sets):
    assert divide_into_sets(paths, str, is_set) == sets


def test_where_all_together_are_none_the_one_set_that_is_whole_counts():
    def is_one(paths):
        return is_set(paths) and sum("encoder" in path for path in paths) == 1

    assert divide_into_sets(["encoder", "decoder", "other_encoder"], str, is_one) == [["encoder", "decoder"]]
