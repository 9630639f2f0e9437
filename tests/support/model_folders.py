"""Folders as loaders lay them out, of small models with random weights: ``FOLDERS`` makes each by its name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import ModelProto

from tests.support.decoders import POSITIONS, VOCABULARY, WIDTH, make_decoder
from tests.support.folder_models import (
    CLASSES,
    HIDDEN,
    PIXELS,
    WORDS,
    make_cross_decoder,
    make_detector,
    make_image_classifier,
    make_speech_encoder,
    make_text_encoder,
)


def write_tokenizer(folder: Path, words: Sequence[str] = WORDS, max_length: int = 32) -> None:
    """A ``tokenizer.json`` of whole words, and its configuration."""
    vocab = {word: i for i, word in enumerate(words)}
    special = [{"id": vocab[word], "content": word, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for word in words[:4]]  # fmt: skip
    single = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
              {"SpecialToken": {"id": "[SEP]", "type_id": 0}}]  # fmt: skip
    second = [{"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}]
    tokens = {word: {"id": word, "ids": [vocab[word]], "tokens": [word]} for word in ("[CLS]", "[SEP]")}
    post = {"type": "TemplateProcessing", "single": single, "pair": [*single, *second], "special_tokens": tokens}
    _write_json(folder / "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": post, "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
    })  # fmt: skip
    special_tokens = {f"{kind}_token": word for kind, word in zip(("pad", "unk", "cls", "sep"), words, strict=False)}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_length, **special_tokens}
    _write_json(folder / "tokenizer_config.json", config)


def write_texts(path: Path, count: int = 48, *, seed: int = 0) -> Path:
    """Sentences of the words, one a line."""
    rng = np.random.default_rng(seed)
    lines = [" ".join(rng.choice(WORDS[4:], rng.integers(3, 12))) for _ in range(count)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def save(model: ModelProto | ir.Model, path: Path, data: str | None = None) -> None:
    """Write ``model``, its tensors to the file ``data`` beside it where one is named."""
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, path, save_as_external_data=data is not None, location=data, size_threshold=256)


def read_tree(folder: Path) -> dict[str, bytes]:
    """Every file of ``folder`` by its relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _text_encoder(folder: Path) -> None:
    save(make_text_encoder(), folder / "model.onnx")
    _write_json(folder / "config.json", {"model_type": "bert", "architectures": ["BertModel"], "vocab_size": len(WORDS)})
    write_tokenizer(folder)


def _reranker(folder: Path) -> None:
    save(make_text_encoder(classes=1), folder / "onnx/model.onnx")
    config = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}, "vocab_size": len(WORDS)}
    _write_json(folder / "config.json", config)
    write_tokenizer(folder)


def _image_classifier(folder: Path) -> None:
    save(make_image_classifier(), folder / "model.onnx")
    labels = {str(i): f"class {i}" for i in range(CLASSES)}
    _write_json(folder / "config.json", {"architectures": ["ViTForImageClassification"], "id2label": labels})
    _write_json(folder / "preprocessor_config.json", {"do_resize": True, "size": {"height": PIXELS, "width": PIXELS},
                "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2})  # fmt: skip


def _detector(folder: Path) -> None:
    save(make_detector(), folder / "model.onnx")
    _write_json(folder / "config.json", {"architectures": ["DetrForObjectDetection"]})
    _write_json(folder / "preprocessor_config.json", {"do_resize": True, "size": {"shortest_edge": 24, "longest_edge": 40},
                "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_pad": True})  # fmt: skip


def _speech_encoder(folder: Path) -> None:
    save(make_speech_encoder(), folder / "onnx/encoder_model.onnx")
    _write_json(folder / "config.json", {"model_type": "whisper", "architectures": ["WhisperModel"]})
    _write_json(folder / "preprocessor_config.json", {"feature_extractor_type": "WhisperFeatureExtractor", "n_fft": 400,
                "feature_size": 80, "sampling_rate": 16000, "hop_length": 160, "chunk_length": 30})  # fmt: skip


def _encoder_decoder(folder: Path) -> None:
    save(make_text_encoder(), folder / "encoder_model.onnx")
    save(make_cross_decoder(), folder / "decoder_model.onnx")
    _write_json(folder / "config.json", {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"],
                "is_encoder_decoder": True, "decoder_start_token_id": 0, "vocab_size": len(WORDS)})  # fmt: skip
    write_tokenizer(folder)


def _encoder_and_merged_decoder(folder: Path) -> None:
    save(make_text_encoder(), folder / "onnx/encoder_model.onnx")
    save(make_decoder(merged=True, cross=True), folder / "onnx/decoder_model_merged.onnx")
    _write_encoder_decoder_config(folder)


def _decoder_with_past(folder: Path) -> None:
    """A decoder in two files, as older exports have it."""
    save(make_text_encoder(), folder / "encoder_model.onnx")
    save(make_decoder(cross=True, part="first"), folder / "decoder_model.onnx")
    save(make_decoder(cross=True, part="step"), folder / "decoder_with_past_model.onnx")
    _write_encoder_decoder_config(folder)


def _write_encoder_decoder_config(folder: Path) -> None:
    _write_json(folder / "config.json", {"model_type": "bart", "is_encoder_decoder": True, "vocab_size": VOCABULARY,
                "architectures": ["BartForConditionalGeneration"], "decoder_start_token_id": 2})  # fmt: skip
    write_tokenizer(folder)


def _merged_decoder(folder: Path) -> None:
    save(make_decoder(merged=True, mask=True), folder / "onnx/decoder_model_merged.onnx")
    _write_json(
        folder / "config.json", {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": VOCABULARY}
    )
    write_tokenizer(folder, [*WORDS[:4], *WORDS[4:VOCABULARY]])


def _transformers_js(folder: Path) -> None:
    _text_encoder(folder)
    (folder / "onnx").mkdir()
    shutil.move(folder / "model.onnx", folder / "onnx/model.onnx")
    for suffix in ("fp16", "quantized", "q4f16"):
        save(make_text_encoder(seed=1), folder / f"onnx/model_{suffix}.onnx")


def _genai(folder: Path) -> None:
    save(make_decoder(mask=True), folder / "model.onnx", "model.onnx.data")
    decoder = {"filename": "model.onnx", "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
               "hidden_size": WIDTH, "head_size": WIDTH,
               "inputs": {"input_ids": "input_ids", "attention_mask": "attention_mask",
                          "past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"},
               "outputs": {"logits": "logits", "present_key_names": "present.%d.key",
                           "present_value_names": "present.%d.value"}}  # fmt: skip
    model = {"type": "llama", "vocab_size": VOCABULARY, "context_length": POSITIONS, "bos_token_id": 2, "eos_token_id": 3,
             "pad_token_id": 0, "decoder": decoder}  # fmt: skip
    search = {"max_length": 16, "past_present_share_buffer": False}
    _write_json(folder / "genai_config.json", {"model": model, "search": search})
    write_tokenizer(folder, WORDS[:VOCABULARY])


def _triton(folder: Path) -> None:
    for version in (1, 2):
        save(make_image_classifier(seed=version), folder / f"classifier/{version}/model.onnx")
    (folder / "classifier/config.pbtxt").write_text(
        'name: "classifier"  # served\nplatform: "onnxruntime_onnx"\nmax_batch_size: 8\n'
        f'input [ {{ name: "pixel_values" data_type: TYPE_FP32 dims: [ 3, {PIXELS}, {PIXELS} ] }} ]\n'
        f'output [ {{ name: "logits" data_type: TYPE_FP32 dims: [ {CLASSES} ] label_filename: "labels.txt" }} ]\n'
    )
    (folder / "classifier/labels.txt").write_text("a\nb\nc\nd\n")


def _sentence_transformers(folder: Path) -> None:
    save(make_text_encoder(), folder / "onnx/model.onnx")
    _write_json(folder / "config.json", {"model_type": "bert", "vocab_size": len(WORDS)})
    _write_json(folder / "modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ])  # fmt: skip
    _write_json(folder / "1_Pooling/config.json", {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True})
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": 16})
    write_tokenizer(folder)


def _shared_data(folder: Path) -> None:
    """Two models whose tensors are in one file."""
    model = make_text_encoder(hidden=64)
    save(model, folder / "a.onnx", "weights.bin")
    loaded = onnx.load(folder / "a.onnx", load_external_data=False)
    del loaded.graph.output[0]
    onnx.save(loaded, folder / "b.onnx")


def _external_data(folder: Path) -> None:
    save(make_text_encoder(hidden=64), folder / "onnx/model.onnx", "model.onnx_data")
    _write_json(folder / "config.json", {"model_type": "bert"})


def _hub_cache(folder: Path) -> None:
    """A snapshot whose files are links into the store of the cache."""
    cache = folder.parent / f"{folder.name}-cache/models--some--model"
    plain = folder.parent / f"{folder.name}-plain"
    _external_data(plain)
    snapshot = cache / "snapshots/0123abcd"
    (cache / "blobs").mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in plain.rglob("*") if path.is_file())):
        blob, link = cache / f"blobs/{number:040x}", snapshot / path.relative_to(plain)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, blob)
        link.symlink_to(os.path.relpath(blob, link.parent))
    shutil.rmtree(plain)
    folder.symlink_to(snapshot)


def _links(folder: Path) -> None:
    """A model, another name of it, and a folder of another name."""
    save(make_image_classifier(), folder / "versions/v1/model.onnx")
    (folder / "latest.onnx").symlink_to("versions/v1/model.onnx")
    (folder / "current").symlink_to("versions/v1")


def _two_unrelated(folder: Path) -> None:
    save(make_image_classifier(), folder / "faces.onnx")
    save(make_text_encoder(), folder / "texts.onnx")
    (folder / "notes.md").write_text("two models\n")


def _quantized(folder: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    save(make_image_classifier(), folder / "model.onnx")
    save(make_text_encoder(hidden=64), folder / "float.onnx")
    quantize_dynamic(folder / "float.onnx", folder / "texts.onnx")
    (folder / "float.onnx").unlink()


def _broken(folder: Path) -> None:
    save(make_image_classifier(), folder / "good.onnx")
    (folder / "bad.onnx").write_bytes((folder / "good.onnx").read_bytes()[:-40])


def _empty(folder: Path) -> None:
    _write_json(folder / "config.json", {"model_type": "bert"})


def _two_candidates(folder: Path) -> None:
    _text_encoder(folder)
    save(make_text_encoder(seed=1), folder / "onnx/model.onnx")


def _contradicting(folder: Path) -> None:
    _text_encoder(folder)
    _write_json(folder / "config.json", {"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 30522})


def _leading_outside(folder: Path) -> None:
    _genai(folder)
    _write_json(folder / "genai_config.json", {"model": {"decoder": {"filename": "../outside.onnx"}}})
    save(make_decoder(), folder.parent / "outside.onnx")


#: What makes each folder: ends with exit code 0 unless :data:`EXIT_CODES` says otherwise.
FOLDERS: dict[str, Callable[[Path], None]] = {
    "text_encoder": _text_encoder,
    "reranker": _reranker,
    "image_classifier": _image_classifier,
    "detector": _detector,
    "speech_encoder": _speech_encoder,
    "encoder_decoder": _encoder_decoder,
    "encoder_and_merged_decoder": _encoder_and_merged_decoder,
    "decoder_with_past": _decoder_with_past,
    "merged_decoder": _merged_decoder,
    "transformers_js": _transformers_js,
    "genai": _genai,
    "triton": _triton,
    "sentence_transformers": _sentence_transformers,
    "shared_data": _shared_data,
    "external_data": _external_data,
    "hub_cache": _hub_cache,
    "links": _links,
    "two_unrelated": _two_unrelated,
    "quantized": _quantized,
    "broken": _broken,
    "empty": _empty,
    "two_candidates": _two_candidates,
    "contradicting": _contradicting,
    "leading_outside": _leading_outside,
}
EXIT_CODES = {"broken": 3, "empty": 2, "two_candidates": 2, "contradicting": 3, "leading_outside": 3}


def make_folder(name: str, parent: Path) -> Path:
    """The folder called ``name``, below ``parent``."""
    folder = parent / name
    if name != "hub_cache":
        folder.mkdir(parents=True)
    FOLDERS[name](folder)
    return folder
