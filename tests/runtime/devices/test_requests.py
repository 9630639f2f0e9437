"""What travels is what was asked, and what comes back as times are times."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from onnxslim.runtime.devices.messages import ProtocolError, unpack_arrays
from onnxslim.runtime.devices.requests import check_times, pack_feeds, write_config
from onnxslim.runtime.session_config import SessionConfig


def test_a_config_travels_whole_but_for_how_many_samples_this_side_takes() -> None:
    config = SessionConfig("cpu", threads=3, optimize=False, session_options={"a": "b"})
    written = json.loads(json.dumps(write_config(config)))
    names = {field.name for field in dataclasses.fields(SessionConfig)}
    assert names - set(written) == {"batch_size"}
    assert all(
        written[name] == (list(value) if isinstance(value := getattr(config, name), tuple) else value) for name in written
    )


def test_feeds_come_back_one_after_another() -> None:
    feeds = [{"x": np.arange(count), "y": np.ones((count, 2), np.float32)} for count in (1, 3)]
    described, blobs = pack_feeds(feeds)
    for one, feed, first in zip(described, feeds, (0, 2), strict=True):
        found = unpack_arrays(one, blobs[first : first + 2])
        assert found.keys() == feed.keys()
        assert all(np.array_equal(found[name], feed[name]) for name in feed)


@pytest.mark.parametrize("times", [[], [0.0], [-1.0], [np.nan], [[1.0]]])
def test_what_are_no_times_comes_from_no_worker(times: list[float]) -> None:
    with pytest.raises(ProtocolError):
        check_times({"a": np.array(times)}, ["a"])
    with pytest.raises(ProtocolError):
        check_times({"a": np.ones(2), "b": np.ones(3)}, ["a", "b"])
    assert list(check_times({"a": np.ones(2), "b": np.ones(2)}, ["b"])) == ["b"]
