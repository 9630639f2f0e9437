"""Texts become the runs of serving: fed in pieces with the cache, a decoder says what it says of the whole at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.readers.npz import pack_ragged, write_npz
from onnxslim.data.samples import Samples
from onnxslim.data.states.token_layout import MAX_STEPS, count_prompt
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.runtime.session import Session
from tests.support.decoders import POSITIONS, VOCABULARY, WIDTH, make_decoder, make_texts

VARIANTS: list[dict[str, Any]] = [
    {},
    {"mask": True},
    {"mask": True, "position_ids": True},
    {"merged": True},
    {"cross": True},
    {"merged": True, "cross": True, "mask": True},
    {"names": "cache"},
]


def open_texts(model: ir.Model, texts: list[np.ndarray], **more: Any) -> Samples:
    return DataOptions(state="auto", **more.pop("options", {})).open([{"input_ids": t} | more for t in texts], model)


def collect_logits(model: ir.Model, samples: Samples) -> list[np.ndarray]:
    """The logits of each text, from its runs with the states that the samples hold, (tokens, classes)."""
    session = Session(model)
    assert samples.sequences is not None
    parts: dict[int, list[np.ndarray]] = {}
    for batch in samples.batches(1):
        parts.setdefault(int(samples.sequences[batch.indices.start]), []).append(session.run(batch)["logits"][0])
    return [np.concatenate(rows) for rows in parts.values()]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_run_by_run_a_decoder_says_what_it_says_of_the_whole(variant: dict[str, Any]) -> None:
    model, texts = make_decoder(**variant), make_texts(9, 2, 40)
    encoder = np.random.default_rng(1).standard_normal((5, WIDTH)).astype(np.float32)
    more = {"encoder_hidden_states": encoder} if variant.get("cross") else {}
    samples = open_texts(model, texts, **more)
    session = Session(model)
    for text, logits in zip(texts, collect_logits(model, samples), strict=True):
        whole: dict[str, np.ndarray] = {"input_ids": text[None]}
        for name in session.inputs:
            if name == "attention_mask":
                whole[name] = np.ones((1, len(text)), np.int64)
            elif name == "position_ids":
                whole[name] = np.arange(len(text))[None]
            elif name == "use_cache_branch":
                whole[name] = np.array([False])
            elif name == "encoder_hidden_states":
                whole[name] = encoder[None]
            elif name != "input_ids":
                whole[name] = np.zeros((1, 1, 0, WIDTH), np.float32)
        assert np.allclose(session.run(whole)["logits"][0], logits, atol=1e-4)


def test_a_text_is_a_prompt_and_steps_and_starts_anew() -> None:
    samples = open_texts(make_decoder(), make_texts(9, 2, 64))
    assert samples.times is not None
    assert samples.times.tolist() == [*range(6), *range(2), *range(MAX_STEPS + 1)]
    shapes = [batch["past_key_values.0.key"].shape[2] for batch in samples.batches(8)]
    assert shapes == [0, *range(4, 9), 0, 1, 0, *range(64 - MAX_STEPS, 64)]
    assert all(1 <= count_prompt(n) < n for n in range(2, 100))


def test_ragged_files_padded_arrays_and_lists_are_the_same_texts(tmp_path: Path) -> None:
    model, texts = make_decoder(mask=True), make_texts(7, 4, 7)
    expected = collect_logits(model, open_texts(model, texts))
    write_npz(tmp_path / "ragged.npz", pack_ragged("input_ids", texts))
    padded, mask = np.zeros((3, 7), np.int64), np.zeros((3, 7), np.int64)
    for row, text in enumerate(texts):
        padded[row, : len(text)], mask[row, : len(text)] = text, 1
    np.savez(tmp_path / "padded.npz", input_ids=padded, attention_mask=mask)
    (tmp_path / "files").mkdir()
    for number, text in enumerate(texts):
        np.save(tmp_path / "files" / f"{number}.npy", text)
    for source in ("ragged.npz", "padded.npz", "files"):
        found = collect_logits(model, DataOptions(state="auto").open(tmp_path / source, model))
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True)), source


def test_what_an_encoder_computed_once_stays_although_later_steps_give_nothing() -> None:
    model = make_decoder(merged=True, cross=True)
    encoder = np.random.default_rng(1).standard_normal((5, WIDTH)).astype(np.float32)
    samples = open_texts(model, make_texts(6), encoder_hidden_states=encoder)
    lengths = [batch["past_key_values.0.encoder.key"].shape[2] for batch in samples.batches(1)]
    assert lengths == [0, 5, 5, 5]


def test_draws_and_made_up_texts() -> None:
    model = make_decoder()
    assert open_texts(model, make_texts(4, 5, 6), options={"max_samples": 2}).as_json()["sequences"] == 2
    made_up = DataOptions(state="auto", max_samples=3).open("random", model)
    assert made_up.as_json()["sequences"] == 3
    assert made_up.layout is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (np.array([3]), "text 1 has 1 tokens, expected at least 2"),
        (np.array([3, VOCABULARY]), f"text 1 has token {VOCABULARY}, which is outside the vocabulary"),
        (np.array([3, -1]), "text 1 has token -1"),
        (np.arange(POSITIONS + 1) % 3, f"expected at most {POSITIONS}, the model's positions"),
    ],
)
def test_texts_that_the_model_cannot_read_are_named(text: np.ndarray, said: str) -> None:
    with pytest.raises(InvalidDataError, match=said):
        open_texts(make_decoder(position_ids=True), [make_texts(5)[0], text])


def test_a_text_longer_than_positions_that_nobody_declares_is_told_by_its_run() -> None:
    with pytest.raises(InvalidDataError, match="text 0, run"):
        open_texts(make_decoder(), make_texts(POSITIONS + 1))


def test_a_cache_without_a_pair_is_named_with_what_could_go() -> None:
    with pytest.raises(UsageError, match=r"no 'past_key_values\.0\.value'") as caught:
        DataOptions(state={"present.0.key": "past_key_values.0.key"}).open(
            {"input_ids": np.stack(make_texts(5, 5))}, make_decoder()
        )
    assert "--state present.0.value=past_key_values.0.value" in str(caught.value.hint)


@pytest.mark.parametrize("rename", [{"batch_size": 1}, {"batch_size": None, "past_sequence_length": None}, None], ids=str)
def test_dimensions_may_be_fixed_unnamed_or_all_lost(rename: dict[str, int | None] | None) -> None:
    model, texts = make_decoder(mask=True), make_texts(9, 5)
    expected = collect_logits(model, open_texts(model, texts))
    for value in (*model.graph.inputs, *model.graph.outputs):
        names = [dim if isinstance(dim, int) else dim.value for dim in value.shape or ()]
        lost: list[Any] = [dim if isinstance(dim, int) else (rename or {}).get(str(dim), dim) for dim in names]
        value.shape = ir.Shape(lost if rename is not None else [d if isinstance(d, int) else None for d in names])
    found = collect_logits(model, open_texts(model, texts))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_keys_and_values_in_one_tensor_whose_batch_is_the_second_axis() -> None:
    model = ir.from_onnx_text("""<ir_version: 8, opset_import: ["" : 17]>
    g (int64[b,n] input_ids, float[2,b,1,p,1] past_0) => (float[b,n,3] logits, float[2,b,1,t,1] present_0)
    <float[3] row = {1, 2, 3}, int64[3] axes_new = {0, 2, 4}, int64[1] last = {2}, int64[4] summed = {0, 2, 3, 4},
     int64[2] axes_sum = {1, 2}> {
      x = Cast<to=1>(input_ids)
      new = Unsqueeze(x, axes_new)
      pair = Concat<axis=0>(new, new)
      present_0 = Concat<axis=3>(past_0, pair)
      sum = ReduceSum<keepdims=0>(present_0, summed)
      total = Unsqueeze(sum, axes_sum)
      column = Unsqueeze(x, last)
      both = Add(column, total)
      logits = Mul(both, row)
    }""")
    batches = list(open_texts(model, [np.array([1, 2, 3, 4])]).batches(4))
    assert [batch["past_0"].shape for batch in batches] == [(2, 1, 1, n, 1) for n in (0, 2, 3)]
    assert [batch["past_0"].sum() for batch in batches] == [0, 6, 12]


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("of", ["attention_mask", "encoder_hidden_states"])
def test_columns_beside_texts_have_a_row_for_each(rows: int, of: str) -> None:
    cross, mask = of == "encoder_hidden_states", of == "attention_mask"
    row = np.zeros((5, WIDTH), np.float32) if cross else np.ones(5, np.int64)
    with pytest.raises(InvalidDataError, match=f"has {rows} rows, expected 2, one for each text"):
        DataOptions(state="auto").open(
            {"input_ids": np.stack(make_texts(5, 5)), of: np.stack([row] * rows)},
            make_decoder(merged=cross, cross=cross, mask=mask),
        )
