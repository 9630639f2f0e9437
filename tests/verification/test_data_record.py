"""A receipt knows its data again, refuses others, and says what encoders were fed with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.sources import open_samples
from onnxslim.data.split import HeldPart
from onnxslim.model_io import model_file
from onnxslim.pipeline.data_splits import ConfirmOrigin
from onnxslim.verification.data_record import DataRecord, EncoderRecord


def test_data_are_their_values_and_labels_wherever_they_lie(tmp_path: Path, cnn: str) -> None:
    model, arrays = model_file.load(cnn), {"image": np.zeros((4, 1, 8, 8), np.float32), "labels": np.arange(4)}

    def record(name: str, **changed: np.ndarray) -> DataRecord:
        np.savez(tmp_path / name, **{**arrays, **changed})
        return DataRecord.of(open_samples(tmp_path / name, model), tmp_path / name)

    record("a.npz").check_same(record("b.npz"), "r.json")
    for changed in ({"image": np.ones((4, 1, 8, 8), np.float32)}, {"labels": np.zeros(4, np.int64)}):
        with pytest.raises(InvalidDataError, match=r"not the data of r\.json"):
            record("a.npz").check_same(record("c.npz", **changed), "r.json")


@pytest.mark.parametrize("source", ["texts.txt", {"input_ids": np.zeros((2, 4), np.int64)}])
def test_what_an_encoder_is_fed_with_is_found_where_it_is_a_file(source: object, cnn: str) -> None:
    samples = open_samples({"image": np.zeros((4, 1, 8, 8), np.float32)}, model_file.load(cnn))
    part = HeldPart(0.25, 3, is_held=True)
    record = EncoderRecord.of(ConfirmOrigin(source, part, samples))
    assert record == EncoderRecord(source if isinstance(source, str) else None, part)
