"""Folders of sounds: what is read is what was written, whatever its rate and width."""

from __future__ import annotations

import json

import numpy as np
import onnx_ir as ir
import pytest
from scipy.io import wavfile

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.readers.sounds import read_sound
from onnxslim.data.sources import open_samples
from tests.support.folder_models import make_speech_encoder
from tests.support.sounds import write_sounds

WAVEFORM = ir.from_onnx_text('<ir_version: 8, opset_import: ["": 17]> g (float[batch,samples] input_values, '
                             "int64[batch,samples] attention_mask) => (float[batch,samples] y) "
                             "{m = Cast<to=1>(attention_mask) y = Mul(input_values, m)}")  # fmt: skip


@pytest.fixture
def configs(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": False})
    )
    return folder


def test_waveforms_have_their_own_lengths_and_a_mask_of_ones(tmp_path, configs):
    sounds = write_sounds(tmp_path / "sounds", 2)
    write_sounds(tmp_path / "more", 1, seconds=0.25)
    (tmp_path / "more/00.wav").rename(sounds / "zz.wav")
    samples = open_samples(str(sounds), WAVEFORM, input_configs=str(configs))
    feeds = list(samples.batches(1))
    assert [feed["input_values"].shape for feed in feeds] == [(1, 8000), (1, 8000), (1, 4000)]
    assert all(feed["attention_mask"].all() and feed["attention_mask"].shape == feed["input_values"].shape for feed in feeds)
    written = wavfile.read(sounds / "zz.wav")[1]
    np.testing.assert_allclose(feeds[2]["input_values"][0], written / 32768, atol=1e-6)


def test_log_mels_have_the_shape_that_the_model_takes(tmp_path, configs):
    content = {"feature_extractor_type": "WhisperFeatureExtractor"}
    (configs / "preprocessor_config.json").write_text(json.dumps(content))
    sounds = write_sounds(tmp_path / "sounds", 2)
    samples = open_samples(str(sounds), ir.from_proto(make_speech_encoder()), input_configs=str(configs))
    assert next(iter(samples.batches(2)))["input_features"].shape == (2, 80, 3000)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_every_width_and_rate_is_the_same_tone(dtype, rate, tmp_path):
    time = np.arange(rate) / rate
    wave = 0.5 * np.sin(2 * np.pi * 440 * time)
    scale = 1 if dtype == np.float32 else np.iinfo(dtype).max // (2 if dtype == np.uint8 else 1)
    stored = (wave * scale + (128 if dtype == np.uint8 else 0)).astype(dtype)
    wavfile.write(tmp_path / "a.wav", rate, np.stack([stored, stored], axis=1))
    read = read_sound(tmp_path / "a.wav", 16000)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert read.shape == (16000,)
    np.testing.assert_allclose(read[800:-800], expected[800:-800], atol=0.02)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\x00\x00\x00\x00WAVEfmt ", b"no sound at all" * 10])
def test_what_is_no_sound_is_named(content, tmp_path, configs):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/bad.wav").write_bytes(content)
    with pytest.raises(InvalidDataError, match=r"bad\.wav"):
        open_samples(str(tmp_path / "s"), WAVEFORM, input_configs=str(configs))


@pytest.mark.parametrize("rate", [1, 999, 2**31 - 1])
def test_a_rate_that_no_sound_has_is_refused_before_it_is_resampled(rate, tmp_path):
    wavfile.write(tmp_path / "odd.wav", rate, np.zeros(100, np.uint8))
    with pytest.raises(InvalidDataError, match=rf"odd\.wav: {rate} samples a second"):
        read_sound(tmp_path / "odd.wav", 16000)


def test_without_a_configuration_the_way_to_name_one_is_told(tmp_path):
    with pytest.raises(UsageError, match="nothing says how they become inputs"):
        open_samples(str(write_sounds(tmp_path / "s", 1)), WAVEFORM)


def test_sub_folders_are_classes(tmp_path, configs):
    for number, name in enumerate(("no", "yes")):
        write_sounds(tmp_path / "s" / name, 2, seed=number)
    assert open_samples(str(tmp_path / "s"), WAVEFORM, input_configs=str(configs)).labels.tolist() == [0, 0, 1, 1]
    (configs / "config.json").write_text(json.dumps({"id2label": {"0": "yes", "1": "no"}}))
    assert open_samples(str(tmp_path / "s"), WAVEFORM, input_configs=str(configs)).labels.tolist() == [1, 1, 0, 0]
