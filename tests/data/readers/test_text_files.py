"""Files of texts: one a line, with labels and pairs in JSON."""

from __future__ import annotations

import json

import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.sources import open_samples
from tests.support.folder_models import make_text_encoder
from tests.support.model_folders import write_texts, write_tokenizer

pytest.importorskip("tokenizers")

MODEL = ir.from_proto(make_text_encoder())


@pytest.fixture
def folder(tmp_path):
    write_tokenizer(tmp_path)
    return tmp_path


def read(path, folder, **options):
    samples = open_samples(str(path), MODEL, input_configs=str(folder), **options)
    return samples, [feed["input_ids"][0].tolist() for feed in samples.batches(1)]


def write_lines(folder, *entries):
    path = folder / "texts.jsonl"
    path.write_text("\n".join(map(json.dumps, entries)))
    return path


def test_lines_come_in_order_and_empty_ones_are_none(folder):
    path = folder / "t.txt"
    path.write_bytes(b"\xef\xbb\xbfword1 word2\r\n\n   \nword3\n")
    assert read(path, folder)[1] == [[2, 5, 6, 3], [2, 7, 3]]


def test_many_texts_come_as_they_are(folder):
    samples, ids = read(write_texts(folder / "t.txt", 3000), folder, max_samples=50)
    assert len(samples) == len(ids) == 50


def test_pairs_labels_and_groups_are_read_by_their_keys(folder):
    path = write_lines(folder, {"query": "word1", "document": "word2 word3", "label": 1, "who": "a"},
                       {"query": "word4", "document": "word5", "label": 0, "who": "b"})  # fmt: skip
    samples, ids = read(path, folder, group="who")
    assert ids == [[2, 5, 3, 6, 7, 3], [2, 8, 3, 9, 3]]
    assert samples.labels.tolist() == [1, 0]


def test_labels_may_be_names_or_have_another_key(folder):
    samples, _ = read(write_lines(folder, {"text": "word1", "label": "neg"}, {"text": "word2", "label": "pos"}), folder)
    assert samples.labels.tolist() == [0, 1]
    (folder / "config.json").write_text(json.dumps({"label2id": {"pos": 0, "neg": 1}}))
    samples, _ = read(write_lines(folder, {"text": "word1", "label": "neg"}, {"text": "word2", "label": "pos"}), folder)
    assert samples.labels.tolist() == [1, 0]
    samples, _ = read(
        write_lines(folder, {"text": "word1", "stars": 4}, {"text": "word2", "stars": 5}), folder, labels="stars"
    )
    assert samples.labels.tolist() == [4, 5]


def test_a_line_may_be_a_text_alone(folder):
    assert read(write_lines(folder, "word1", "word2"), folder)[1] == [[2, 5, 3], [2, 6, 3]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"word1\nna\xefve\n", r"line 2 is not UTF-8 \(byte 3\)"),
        ("word1\n".encode("utf-16"), "line 1 is not UTF-8"),
        (b"\n\n", "holds no text"),
        (b"a\0b", "a byte of 0"),
    ],
)
def test_another_encoding_or_no_text_is_refused_by_its_line(content, words, folder):
    path = folder / "t.txt"
    path.write_bytes(content)
    with pytest.raises(InvalidDataError, match=words) as caught:
        read(path, folder)
    assert str(path) in caught.value.message


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("{", "line 1 is not JSON"),
        ("3", "line 1 is a int, expected an object"),
        ('{"x": "word1"}', "line 1 has 'x'; expected a text under one of"),
        ('{"text": "a"}\n{"text": 3}', "line 2: 'text' is int"),
        ('{"text": "a"}\n{"text": "\\ud83d"}', "line 2: 'text' has half a surrogate pair"),
        ('{"text": "a", "label": 1}\n{"text": "b"}', "1 of 2 lines have a label"),
        ('{"text": "a", "label": [1]}', "labels are list"),
    ],
)
def test_a_line_that_is_no_text_is_refused_by_its_number(lines, words, folder):
    path = folder / "t.jsonl"
    path.write_text(lines)
    with pytest.raises(InvalidDataError, match=words):
        read(path, folder)


def test_without_a_tokenizer_the_way_to_name_one_is_told(folder):
    path = write_texts(folder / "t.txt")
    with pytest.raises(UsageError, match="nothing says how they become ids") as caught:
        open_samples(str(path), MODEL)
    assert "--preprocess FOLDER" in str(caught.value.hint)
    assert len(open_samples(str(path), MODEL, preprocess=str(folder))) == 48
