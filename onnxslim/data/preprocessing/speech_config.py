"""The hub's ``preprocessor_config.json`` of a speech model as :mod:`onnxslim.data.preprocessing.speech_features`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onnxslim.core.errors import InvalidDataError, UnsupportedError, UsageError
from onnxslim.data.preprocessing.huggingface import CONFIG_NAME
from onnxslim.data.preprocessing.speech_features import LogMel, SpeechFeatures, Waveform

#: In a waveform, and in the frames or the filters that make its spectrum: Whisper's have a million.
_MAX_NUMBERS = 1 << 26


def read_speech_config(folder: Path) -> SpeechFeatures:
    """What makes features of sounds for the model in ``folder``.

    Raises:
        UsageError: No such file.
        InvalidDataError: It is broken.
        UnsupportedError: A feature extractor that is not made here.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise UsageError(f"{folder}: no {CONFIG_NAME}, which says how sounds become inputs",
                         hint="it belongs beside the model; or give the features as an .npz")  # fmt: skip
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind = str(config.get("feature_extractor_type"))
        if kind not in EXTRACTORS:
            raise UnsupportedError(
                f"{path}: feature_extractor_type {kind} is not made here, only {', '.join(EXTRACTORS)}",
                hint="prepare the arrays yourself, as an .npz",
            )
        return EXTRACTORS[kind](config)
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidDataError(f"{path} is not the {CONFIG_NAME} of a speech model: {error!r}") from error


def _read_log_mel(config: Mapping[str, Any]) -> SpeechFeatures:
    features = LogMel(
        int(config.get("sampling_rate", 16000)), int(config.get("feature_size", 80)), int(config.get("n_fft", 400)),
        int(config.get("hop_length", 160)), float(config.get("chunk_length", 30)),
    )  # fmt: skip
    if min(features.sampling_rate, features.mels, features.fft, features.hop) < 1 or not 0 < features.seconds <= 3600:
        raise ValueError("sizes below 1, or more than an hour")
    numbers = max(features.fft * max(features.shape(0)), features.seconds * features.sampling_rate)
    if features.fft % 2 or numbers > _MAX_NUMBERS:
        raise ValueError("n_fft is odd, or the spectrum too large for any use")
    return features


def _read_waveform(config: Mapping[str, Any]) -> SpeechFeatures:
    rate = int(config.get("sampling_rate", 16000))
    if rate < 1:
        raise ValueError("sampling_rate below 1")
    return Waveform(rate, bool(config.get("do_normalize", True)))


#: How each extractor's configuration is read. To add one: what it makes in ``speech_features``, and a row.
EXTRACTORS: dict[str, Callable[[Mapping[str, Any]], SpeechFeatures]] = {
    "WhisperFeatureExtractor": _read_log_mel,
    "Wav2Vec2FeatureExtractor": _read_waveform,
}
