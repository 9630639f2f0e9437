"""Folders that were written open in the loaders that they are made for, where those are installed."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime as ort
import pytest

from onnxslim_cli.main import main
from tests.support.model_folders import make_folder


def test_onnxruntime_genai_goes_on_with_a_text_as_before(tmp_path):
    genai = pytest.importorskip("onnxruntime_genai", reason="onnxruntime-genai is not installed")
    folder, out = make_folder("genai", tmp_path / "in"), tmp_path / "out"
    assert main(["simplify", str(folder), "-o", str(out)]) == 0
    texts = []
    for place in (folder, out):
        model = genai.Model(str(place))
        options = genai.GeneratorParams(model)
        options.set_search_options(max_length=12, do_sample=False)
        generator = genai.Generator(model, options)
        generator.append_tokens([4, 5, 6])
        while not generator.is_done():
            generator.generate_next_token()
        texts.append(np.array(generator.get_sequence(0)).tolist())
    assert texts[0] == texts[1]
    assert len(texts[0]) > 3


def test_optimum_finds_the_model_by_its_name(tmp_path):
    pytest.importorskip("optimum.onnxruntime", reason="optimum is not installed")
    from optimum.onnxruntime import ORTModelForFeatureExtraction

    folder, out = make_folder("text_encoder", tmp_path / "in"), tmp_path / "out"
    assert main(["simplify", str(folder), "-o", str(out)]) == 0
    feeds = {"input_ids": np.arange(12).reshape(2, 6), "attention_mask": np.ones((2, 6), np.int64)}
    given, made = (
        ORTModelForFeatureExtraction.from_pretrained(place, local_files_only=True)(**feeds).last_hidden_state
        for place in (folder, out)
    )
    np.testing.assert_allclose(given, made, atol=1e-5)


def test_sentence_transformers_embeds_as_before(tmp_path):
    module = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    pytest.importorskip("optimum.onnxruntime", reason="its ONNX backend needs optimum")
    folder, out = make_folder("sentence_transformers", tmp_path / "in"), tmp_path / "out"
    assert main(["simplify", str(folder), "-o", str(out)]) == 0
    options = {"backend": "onnx", "local_files_only": True, "model_kwargs": {"provider": "CPUExecutionProvider"}}
    texts = ["word1 word2", "word3 word4 word5"]
    given, made = (module.SentenceTransformer(str(place), **options).encode(texts) for place in (folder, out))
    np.testing.assert_allclose(given, made, atol=1e-5)


def test_transformers_reads_what_is_around_the_model_as_before(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    folder, out = make_folder("reranker", tmp_path / "in"), tmp_path / "out"
    assert main(["simplify", str(folder), "-o", str(out)]) == 0
    scores = []
    for place in (folder, out):
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, local_files_only=True)
        feeds = tokenizer(["word1 word2", "word3"], ["word4", "word5 word6"], padding=True, return_tensors="np")
        config = json.loads((place / "config.json").read_text())
        assert (tokenizer.model_max_length, len(tokenizer)) == (32, config["vocab_size"])
        session = ort.InferenceSession(str(place / "onnx/model.onnx"), providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]
        scores.append(session.run(None, {name: feeds[name] for name in names})[0])
    np.testing.assert_allclose(*scores, atol=1e-5)
