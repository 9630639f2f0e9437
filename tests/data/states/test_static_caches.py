"""A cache that is written by position is told from any other state, however the exporter wrote that."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.model_inputs import get_model_inputs
from onnxslim.data.states.pairs import find_state_pairs, get_model_outputs
from onnxslim.data.states.static_caches import find_written_axis
from onnxslim.data.states.token_layout import find_token_layout
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.runtime.session import Session
from tests.support.channel_graphs import model
from tests.support.decoders import make_decoder, make_texts
from tests.support.static_decoders import CAPACITY, STATIC_VARIANTS, make_static_decoder


@pytest.mark.parametrize("name", STATIC_VARIANTS)
def test_written_by_position_a_decoder_says_what_one_with_a_growing_cache_says(name: str) -> None:
    variant, texts = STATIC_VARIANTS[name], make_texts(9, 2, 40)
    static = make_static_decoder(**variant)
    inputs = {i.name: i for i in get_model_inputs(static)}
    assert [inputs[cache].written_axis for cache in ("past_key", "past_value")] == [2, 2]
    samples = DataOptions(state="auto").open([{"input_ids": text} for text in texts], static)
    assert samples.layout is not None
    assert samples.layout.capacity == CAPACITY
    growing = Session(make_decoder())
    session = Session(static)
    assert samples.sequences is not None
    said: dict[int, list[np.ndarray]] = {}
    for batch in samples.batches(1):
        said.setdefault(int(samples.sequences[batch.indices.start]), []).append(session.run(batch)["logits"][0])
    for number, text in enumerate(texts):
        empty = np.zeros((1, 1, 0, 16), np.float32)
        feeds = {"input_ids": text[None], "past_key_values.0.key": empty, "past_key_values.0.value": empty}
        assert np.allclose(np.concatenate(said[number]), growing.run(feeds)["logits"][0], atol=1e-4)


def test_a_text_longer_than_the_cache_is_refused_by_number() -> None:
    texts = [{"input_ids": text} for text in make_texts(5, CAPACITY + 1)]
    with pytest.raises(InvalidDataError, match=f"text 1 has {CAPACITY + 1} tokens, expected at most {CAPACITY}, what its"):
        DataOptions(state="auto").open(texts, make_static_decoder())


def test_tensor_scatter_writes_the_axis_before_the_last() -> None:
    text = "o = TensorScatter(c, u, w)"
    inputs = "float[1,2,8,4] c, float[1,2,1,4] u, int64[1] w"
    assert find_written_axis(model(text, inputs=inputs, outputs="float[1,2,8,4] o", opset=24).graph.inputs[0]) == 2


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        ("o = Add(c, u)", "float[1,8] c, float[1,8] u"),
        ("o = Where(w, c, u)", "float[1,8] c, float[1,8] u, bool[1,8] w"),
        ("s = Slice(c, w, e, a) o = Concat<axis=1>(s, u)", "float[1,8] c, float[1,1] u, int64[1] w, int64[1] e, int64[1] a"),
    ],
)
def test_other_states_are_none(text: str, inputs: str) -> None:
    net = model(text, inputs=inputs, outputs="float[?,?] o")
    expected = 1 if text.startswith("o = Where") else None
    assert find_written_axis(net.graph.inputs[0]) == expected
    found = get_model_inputs(net)
    assert find_token_layout(found, {"o": "c"}) is None


def test_a_scatter_without_positions_makes_no_decoder() -> None:
    net = make_static_decoder()
    inputs = [i for i in get_model_inputs(net) if i.name != "cache_position"]
    assert find_token_layout(inputs, find_state_pairs(inputs, get_model_outputs(net))) is None
    assert isinstance(net, ir.Model)
