"""Random data: only when spelled, seeded, warned about, in the model's shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidModelError, LimitError, OnnxslimError, UnsupportedError, UsageError
from onnxslim.data.sources import open_samples

REFUSED = InvalidModelError("no")
Make = Callable[..., ir.Model]


def test_random_data_are_seeded_and_stamped(image_model: ir.Model) -> None:
    samples = open_samples("random", image_model, max_samples=6, seed=1)
    assert samples.source == "random"
    assert len(samples) == 6
    assert "say nothing about accuracy" in samples.warnings[0]
    assert samples.digests() == open_samples("random", image_model, max_samples=6, seed=1).digests()
    assert samples.digests()[:3] == open_samples("random", image_model, max_samples=3, seed=1).digests()
    assert not set(samples.digests()) & set(open_samples("random", image_model, seed=2).digests())
    with pytest.raises(UsageError, match="random data prove nothing here"):
        open_samples("random", image_model, allow_random=False)


@pytest.mark.parametrize(
    ("dims", "shape"),
    [
        (["n", 3, "h", "w"], (3, 224, 224)),
        (["n", "h", "w", 3], (224, 224, 3)),
        ([None, 3, None, None], (3, 224, 224)),
        (["n", "time", 40], (1, 40)),
        (["n", "size"], (17,)),
    ],
)
def test_free_dimensions_are_224_in_images_1_elsewhere_or_as_told(
    make: Make, dims: list[int | str | None], shape: tuple[int, ...]
) -> None:
    samples = open_samples("random", make(x=("FLOAT", dims)), max_samples=1, dims={"size": 17})
    assert samples.shapes == {"x": shape}


def test_integers_stay_within_the_table_they_look_up(make: Make) -> None:
    model = make(ids=("INT64", ["n", 50]), mask=("INT64", ["n", 50]), flag=("BOOL", ["n"]))
    ids = model.graph.inputs[0]
    table = ir.Value(name="t", shape=ir.Shape([7, 4]), type=ir.TensorType(ir.DataType.FLOAT))
    cast = ir.node("Cast", [ids], attributes={"to": 6})
    model.graph.extend([cast, ir.node("Gather", [table, cast.outputs[0]])])
    (batch,) = open_samples("random", model, max_samples=9).batches(9)
    assert set(np.unique(batch["ids"])) == set(range(7))
    assert set(np.unique(batch["mask"])) == {0, 1}
    assert batch["flag"].dtype == np.bool_


@pytest.mark.parametrize(("dims", "values"), [(["n"], {1}), (["n", 1], {1}), (["n", "length"], {1}), (["n", 3], {0, 1})])
def test_one_whole_number_of_unknown_use_is_no_zero(make: Make, dims: list[int | str], values: set[int]) -> None:
    """A count, a size, a step: models that divide by it, or repeat so often, run with 1."""
    (batch,) = open_samples("random", make(count=("INT64", dims)), max_samples=40).batches(40)
    assert set(np.unique(batch["count"])) == values


def test_strings_and_unknown_ranks_cannot_be_made_up(make: Make) -> None:
    for dtype, dims in (("STRING", ["n"]), ("FLOAT", None)):
        with pytest.raises(UnsupportedError, match="cannot be made up for input 'x'"):
            open_samples("random", make(x=(dtype, dims)))


@pytest.mark.parametrize(("least", "length"), [(1, 1), (2, 64), (300, 512)])
def test_free_dimensions_grow_until_the_model_runs(make: Make, least: int, length: int) -> None:
    model = make(wave=("FLOAT", ["n", "time"]), state=("FLOAT", ["n", 2, None]), fixed=("FLOAT", ["n", 5]))

    def run_check(feeds: Mapping[str, np.ndarray]) -> OnnxslimError | None:
        return None if feeds["wave"].shape[1] >= least else REFUSED

    samples = open_samples("random", model, max_samples=2, run_check=run_check)
    assert samples.shapes == {"wave": (length,), "state": (2, length), "fixed": (5,)}
    assert any(f"are {length}," in warning for warning in samples.warnings) == (length > 1)


def test_dimensions_that_are_given_or_fixed_do_not_grow(make: Make) -> None:
    model = make(x=("FLOAT", ["n", "time"]))
    samples = open_samples("random", model, dims={"time": 3}, run_check=lambda feeds: None)
    assert samples.shapes == {"x": (3,)}
    with pytest.raises(UsageError, match="does not run with inputs made up at random: no"):
        open_samples("random", model, dims={"time": 3}, run_check=lambda feeds: REFUSED)


def test_floats_of_fixed_sizes_need_no_trial(make: Make) -> None:
    asked: list[int] = []
    model = make(x=("FLOAT", ["n", 7]))
    open_samples("random", model, run_check=lambda feeds: REFUSED if not asked.append(1) else None)
    assert not asked


@pytest.mark.parametrize("kind", [UnsupportedError, LimitError])
def test_what_no_inputs_would_mend_is_said_as_it_is(make: Make, kind: type[OnnxslimError]) -> None:
    with pytest.raises(kind, match="no such op"):
        open_samples("random", make(x=("FLOAT", ["n", "time"])), run_check=lambda feeds: kind("no such op"))


def test_dimensions_do_not_grow_past_any_use(make: Make) -> None:
    sizes: list[tuple[int, ...]] = []
    model = make(x=("FLOAT", ["n", "a", "b", "c", "d"]))
    with pytest.raises(UsageError) as caught:
        open_samples("random", model, max_samples=1, run_check=lambda feeds: sizes.append(feeds["x"].shape) or REFUSED)
    assert sizes == [(1, 1, 1, 1, 1), (1, 64, 64, 64, 64)]
    assert "--data" in str(caught.value.hint)


@pytest.mark.parametrize(("kind", "runs"), [("INT64", False), ("FLOAT", True)])
def test_integers_may_be_sizes_so_that_one_sample_that_runs_is_not_enough(make: Make, kind: str, runs: bool) -> None:
    asked: list[int] = []

    def run_check(feeds: Mapping[str, np.ndarray]) -> OnnxslimError | None:
        asked.append(1)
        return None if len(asked) == 1 else REFUSED

    model = make(x=(kind, ["n"]))
    if runs:
        open_samples("random", model, max_samples=4, run_check=run_check)
    else:
        with pytest.raises(UsageError, match="made up at random"):
            open_samples("random", model, max_samples=4, run_check=run_check)
