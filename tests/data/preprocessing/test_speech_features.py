"""Features of sounds against scipy's spectra, known tones, and transformers where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import stft

from onnxslim.data.preprocessing.speech_features import LogMel, Waveform, make_mel_filters


@pytest.mark.parametrize(("mels", "fft"), [(80, 400), (128, 400), (40, 512)])
def test_filters_are_triangles_of_one_peak_and_area_one(mels, fft):
    filters = make_mel_filters(mels, fft, 16000)
    assert filters.shape == (mels, fft // 2 + 1)
    fine = make_mel_filters(mels, 64 * fft, 16000)
    np.testing.assert_allclose(fine.sum(axis=1) * 16000 / (64 * fft), 1.0, rtol=0.02)
    for row in fine:
        rises = np.sign(np.diff(row[np.flatnonzero(row)]))
        assert (np.diff(rises[rises != 0]) <= 0).all()


def test_a_tone_is_loudest_in_the_filter_around_it():
    time = np.arange(16000 * 2) / 16000
    features, filters = LogMel(seconds=2), make_mel_filters(80, 400, 16000)
    for hertz in (320, 1000, 4000):
        mel = features.apply(np.sin(2 * np.pi * hertz * time).astype(np.float32))
        assert filters[mel.mean(axis=1).argmax(), round(hertz / 40)] > 0


def test_power_is_that_of_scipys_spectra():
    wave = (0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    padded = np.pad(wave.astype(np.float64), 200, mode="reflect")
    spectra = stft(padded, window=window, nperseg=400, noverlap=240, boundary=None, padded=False)[2] * window.sum()
    mel = np.log10(np.maximum(make_mel_filters(80, 400, 16000) @ np.abs(spectra[:, :100]) ** 2, 1e-10))
    expected = (np.maximum(mel, mel.max() - 8) + 4) / 4
    np.testing.assert_allclose(LogMel(seconds=1).apply(wave), expected, atol=1e-5)


def test_it_is_what_transformers_makes():
    audio = pytest.importorskip("transformers.audio_utils")
    bank = audio.mel_filter_bank(201, 80, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(make_mel_filters(80, 400, 16000), bank.T, atol=1e-12)


@pytest.mark.parametrize("count", [1, 100, 16000, 50000])
def test_shapes_are_told_before_anything_is_computed(count):
    wave = np.random.default_rng(0).standard_normal(count).astype(np.float32)
    for features in (LogMel(seconds=2), Waveform(), Waveform(normalize=False)):
        made = features.apply(wave)
        assert (made.shape, made.dtype) == (features.shape(count), np.float32)
        assert np.isfinite(made).all()


def test_a_waveform_is_normalized_or_left_as_it_is():
    wave = (3 + np.random.default_rng(0).standard_normal(9000)).astype(np.float32)
    made = Waveform().apply(wave)
    assert abs(made.mean()) < 1e-3
    assert abs(made.std() - 1) < 1e-3
    np.testing.assert_array_equal(Waveform(normalize=False).apply(wave), wave)
