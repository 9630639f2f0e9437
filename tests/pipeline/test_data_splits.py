"""The sets of a run: what they share is an error, and what is nearly shared is a warning, however they were made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.pipeline.data_options import DataOptions, OpenedData
from onnxslim.pipeline.data_splits import open_splits
from tests.support import quantize_graphs


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(count, 1, 8, 8)).astype(np.float32)


def test_frames_of_one_film_on_both_sides_are_warned_about_and_a_group_keeps_them_together(digits) -> None:
    scenes = images(12, 0)
    film = np.repeat(scenes, 4, axis=0) + 0.002 * images(48, 1)
    apart = open_splits(digits, {"image": film}, None, DataOptions(), 0, tune=0)
    assert any("nearly the same" in line and "--group" in line for line in apart.warnings())
    groups = {"image": film, "scene": np.repeat(np.arange(12), 4)}
    together = open_splits(digits, groups, None, DataOptions(group="scene"), 0, tune=0)
    assert together.warnings() == []
    assert together.fit is not None
    assert together.confirm is not None
    assert set(together.fit.groups.tolist()).isdisjoint(together.confirm.groups.tolist())


def test_the_same_image_in_two_sources_is_an_error_and_nearly_the_same_a_warning(digits) -> None:
    fit, confirm = images(20, 2), images(10, 3)
    assert open_splits(digits, fit, confirm, DataOptions(), 0, tune=0).warnings() == []
    confirm[4] = fit[7] + 0.001
    assert any(
        "(by index: 7 ~ 4)" in line for line in open_splits(digits, fit, confirm, DataOptions(), 0, tune=0).warnings()
    )
    confirm[4] = fit[7]
    with pytest.raises(InvalidDataError, match="7 = 4"):
        open_splits(digits, fit, confirm, DataOptions(), 0, tune=0)


@pytest.mark.parametrize(("judged", "labelled", "source"), [(100, True, "confirm"), (99, True, "fit"), (100, False, "fit")])
def test_choices_are_made_on_judged_samples_where_only_those_have_labels_and_plenty_of_them(
    digits, judged: int, labelled: bool, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxslim.pipeline.data_splits.ENOUGH_LABELS", 20)
    eval_data = {"image": images(judged, 3), **({"labels": np.arange(judged) % 10} if labelled else {})}
    sets = open_splits(digits, images(50, 2), eval_data, DataOptions(), 0, tune=0.2)
    assert sets.fit is not None
    assert sets.tune is not None
    assert sets.confirm is not None
    lost = {"fit": (40, 10, judged), "confirm": (50, judged // 2, judged - judged // 2)}[source]
    assert (len(sets.fit), len(sets.tune), len(sets.confirm)) == lost
    assert (sets.tune.labels is None) == (source == "fit")
    own = [set(samples.digests()) for samples in (sets.fit, sets.tune, sets.confirm)]
    assert len(set.union(*own)) == 50 + judged


def make_fixed(batch: int) -> ir.Model:
    return quantize_graphs.model(
        f"g (float[{batch},8] x) => (float[{batch},8] y) {{ y = MatMul(x, w) }}", w=quantize_graphs.weight(8, 8)
    )


@pytest.mark.parametrize("batch", [2, 5, 9, 16])
@pytest.mark.parametrize("source", ["random", "3 batches and a bit"])
def test_every_use_has_whole_batches(batch: int, source: str) -> None:
    rows = np.random.default_rng(0).normal(size=(3 * batch + 1, 8)).astype(np.float32)
    data = source if source == "random" else {"x": rows}
    splits = open_splits(make_fixed(batch), data, None, DataOptions(), 0, tune=0.2)
    for samples in (splits.fit, splits.tune, splits.confirm):
        assert samples is not None
        assert len(samples) % batch == 0
        assert len(samples) >= batch


def test_one_batch_is_fitted_on_and_cannot_be_chosen_by() -> None:
    rows = {"x": np.random.default_rng(0).normal(size=(7, 8)).astype(np.float32)}
    assert open_splits(make_fixed(5), rows, None, DataOptions(), 0).confirm is None
    with pytest.raises(UsageError, match="5 samples, expected at least 10, a batch to fit on and one to judge by"):
        open_splits(make_fixed(5), rows, None, DataOptions(), 0, tune=0.2)
    with pytest.raises(UsageError, match="4 samples, expected at least 5"):
        open_splits(make_fixed(5), {"x": rows["x"][:4]}, None, DataOptions(), 0)


@pytest.mark.parametrize("case", ["given", "held back", "the rest"])
def test_what_is_confirmed_on_can_be_opened_again(digits, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxslim.pipeline.data_splits.ENOUGH_LABELS", 15)
    labels = {"labels": np.arange(100) % 10} if case == "the rest" else {}
    eval_data = None if case == "held back" else {"image": images(100, 3), **labels}
    read = DataOptions(max_samples=90)
    sets = open_splits(digits, {"image": images(100, 2)}, eval_data, read, 7, tune=0.2)
    assert sets.confirm is not None
    assert sets.origin is not None
    assert (sets.origin.part is None) == (case == "given")
    again = open_splits(digits, None, sets.origin.source, replace(read, part=sets.origin.part), 7).confirm
    assert again is not None
    assert again.digests() == sets.confirm.digests()


def test_opened_data_are_opened_again_only_with_other_options(digits) -> None:
    opened = OpenedData(images(30, 0), DataOptions().open(images(30, 0), digits), DataOptions(), 0)
    assert DataOptions().open(opened, digits) is opened.samples
    assert len(DataOptions(max_samples=20).open(opened, digits)) == 20
    assert open_splits(digits, opened, None, DataOptions(), 0).origin.source is opened.source
