"""Calibration runs are counted, and as many taken as there is time for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.pipeline.data_options import DataOptions
from onnxslim.quantization.calibration.feeds import MIN_AFFORDABLE_SAMPLES, CalibrationFeeds, count_affordable_samples
from tests.support import nets
from tests.support.decoders import make_decoder, make_texts


@given(st.integers(1, 10**5), st.floats(0, 10), st.floats(0, 1e4))
def test_never_more_than_there_are_nor_fewer_than_ranges_need(count: int, run_seconds: float, seconds: float) -> None:
    affordable = count_affordable_samples(count, run_seconds, seconds)
    assert min(count, MIN_AFFORDABLE_SAMPLES) <= affordable <= count
    assert affordable <= count_affordable_samples(count, run_seconds, 2 * seconds)
    assert affordable <= max(MIN_AFFORDABLE_SAMPLES, seconds / max(run_seconds, 1e-9))


def test_first_and_last_are_parts_of_the_whole() -> None:
    model = nets.mlp()
    feeds = CalibrationFeeds(nets.samples(model, 9))
    everything = [feed["x"] for feed in feeds]
    assert len(feeds) == len(everything) == 9
    np.testing.assert_array_equal([feed["x"] for feed in feeds.first(4)], everything[:4])
    np.testing.assert_array_equal([feed["x"] for feed in feeds.last(4)], everything[5:])
    np.testing.assert_array_equal([feed["x"] for feed in feeds[2:5]], everything[2:5])


def test_of_texts_prompts_come_first_and_of_other_data_what_is_spread() -> None:
    texts = [{"input_ids": text} for text in make_texts(12, 9, 15)]
    feeds = CalibrationFeeds(DataOptions(state="auto").open(texts, make_decoder()))
    lengths = [feed["input_ids"].shape[1] for feed in feeds.with_prompts(6)]
    assert len(lengths) == 6
    assert all(length > 1 for length in lengths[:3])
    assert all(length == 1 for length in lengths[3:])
    assert len(feeds.with_prompts(1000)) == len(feeds)
