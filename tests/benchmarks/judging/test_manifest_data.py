"""Samples reach the runtime in the model's types and ranks, one by one, with their state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from judging.manifest_data import ManifestData, parse_states, walk
from judging.verification import open_session

from onnxslim.data.readers.npz import pack_ragged

SUM = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,2] x, float[1,2] before) => (float[1,2] y, float[1,2] after) { after = Add(x, before)  y = Neg(after) }"""
MEAN = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,n] x, float t) => (float[1,n] y) { y = Add(x, t) }"""


def write(folder: Path, text: str, **arrays: np.ndarray) -> tuple[Path, Path]:
    """A model and its data."""
    onnx.save(onnx.parser.parse_model(text), folder / "m.onnx")
    np.savez(folder / "d.npz", **arrays)
    return folder / "m.onnx", folder / "d.npz"


@pytest.mark.parametrize("state", ["after=before", "auto"])
def test_the_state_of_a_sequence_begins_at_zero_and_is_handed_on(state: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((3, 5, 1, 2)).astype(np.float32)
    model, path = write(tmp_path, SUM, x=x)
    session = open_session(model)
    data = ManifestData(path, session.get_inputs(), parse_states([state], session, path))
    assert len(data) == 3
    for index in range(3):
        found = [outputs["y"][0] for _, outputs in walk(session, data, index)]
        np.testing.assert_allclose(found, -np.cumsum(x[index, :, 0], 0), rtol=1e-5)


LSTM_LIKE = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,2] x, float[1,2] c, float[1,2] h, int64[1] n) => (float[1,2] y, float[1,2] h_out, float[1,2] c_out, int64[1] m)
{ y = Add(x, c)  h_out = Neg(h)  c_out = Abs(c)  m = Identity(n) }"""


def test_states_of_one_shape_go_together_by_name_and_one_that_goes_with_none_is_told(tmp_path: Path) -> None:
    model, path = write(tmp_path, LSTM_LIKE, x=np.zeros((1, 1, 1, 2), np.float32), n=np.zeros((1, 1, 1), np.int64))
    session = open_session(model)
    assert parse_states(["auto"], session, path) == {"h": "h_out", "c": "c_out"}
    assert parse_states(["y=c", "auto"], session, path) == {"c": "y", "h": "h_out"}
    model, path = write(tmp_path, LSTM_LIKE.replace(", int64[1] m)", ")"), x=np.zeros((1, 1, 1, 2), np.float32))
    with pytest.raises(ValueError, match=r"--state auto: n of d.npz go with no output"):
        parse_states(["auto"], open_session(model), path)


def test_samples_of_different_shapes_and_scalars_come_one_by_one(tmp_path: Path) -> None:
    rows = [np.arange(n, dtype=np.float32) for n in (3, 1, 4)]
    arrays = pack_ragged("x", rows)
    model, path = write(tmp_path, MEAN, **arrays, t=np.array([1, 2, 3]), labels=np.arange(3))
    session = open_session(model)
    data = ManifestData(path, session.get_inputs())
    assert data.labels.tolist() == [0, 1, 2]
    for index, row in enumerate(rows):
        ((feed, outputs),) = walk(session, data, index)
        assert feed["x"].shape == (1, len(row))
        np.testing.assert_array_equal(outputs["y"][0], row + index + 1)


def test_one_array_alone_may_have_any_name(tmp_path: Path) -> None:
    text = MEAN.replace(", float t", "").replace("Add(x, t)", "Neg(x)")
    model, path = write(tmp_path, text, anything=np.ones((2, 3)), labels=np.zeros(2))
    data = ManifestData(path, open_session(model).get_inputs())
    (feed,) = data.feeds(1)
    assert {name: (array.shape, array.dtype) for name, array in feed.items()} == {"x": ((1, 3), np.float32)}
