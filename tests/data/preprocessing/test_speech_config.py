"""Which features a speech model's configuration asks for."""

from __future__ import annotations

import json

import pytest

from onnxslim.core.errors import InvalidDataError, UnsupportedError, UsageError
from onnxslim.data.preprocessing.speech_config import read_speech_config
from onnxslim.data.preprocessing.speech_features import LogMel, Waveform


def write(folder, content):
    (folder / "preprocessor_config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_the_extractor_is_the_one_that_is_named(tmp_path):
    whisper = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 128, "chunk_length": 10}
    assert read_speech_config(write(tmp_path, whisper)) == LogMel(mels=128, seconds=10)
    plain = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 8000, "do_normalize": False}
    assert read_speech_config(write(tmp_path, plain)) == Waveform(8000, normalize=False)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ({"feature_extractor_type": "OtherExtractor"}, UnsupportedError, "OtherExtractor is not made here"),
        ({"image_mean": [0.5]}, UnsupportedError, "None is not made here"),
        ("{", InvalidDataError, r"preprocessor_config\.json"),
        ("[]", InvalidDataError, r"preprocessor_config\.json"),
        ({"feature_extractor_type": "WhisperFeatureExtractor", "hop_length": 0}, InvalidDataError, "below 1"),
        ({"feature_extractor_type": "WhisperFeatureExtractor", "n_fft": 401}, InvalidDataError, "n_fft is odd"),
        ({"feature_extractor_type": "WhisperFeatureExtractor", "n_fft": 10**6}, InvalidDataError, "too large"),
        ({"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 10**6}, InvalidDataError, "too large"),
        (
            {"feature_extractor_type": "WhisperFeatureExtractor", "sampling_rate": 10**9, "hop_length": 10**9},
            InvalidDataError,
            "too large",
        ),
        ({"feature_extractor_type": "WhisperFeatureExtractor", "n_fft": "many"}, InvalidDataError, "many"),
        ({"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 0}, InvalidDataError, "sampling_rate"),
    ],
)
def test_what_cannot_be_made_is_named(content, error, words, tmp_path):
    with pytest.raises(error, match=words):
        read_speech_config(write(tmp_path, content))


def test_a_missing_configuration_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"no preprocessor_config\.json"):
        read_speech_config(tmp_path)
