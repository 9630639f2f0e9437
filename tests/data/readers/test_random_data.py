"""Random data: only when spelled, seeded, warned about, in the model's shapes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.data.sources import open_samples

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


def test_strings_and_unknown_ranks_cannot_be_made_up(make: Make) -> None:
    for dtype, dims in (("STRING", ["n"]), ("FLOAT", None)):
        with pytest.raises(UnsupportedError, match="cannot be made up for input 'x'"):
            open_samples("random", make(x=(dtype, dims)))


@pytest.mark.parametrize(("least", "length"), [(1, 1), (2, 64), (300, 512), (10**9, 1)])
def test_free_dimensions_grow_until_the_model_runs(make: Make, least: int, length: int) -> None:
    model = make(wave=("FLOAT", ["n", "time"]), state=("FLOAT", ["n", 2, None]), fixed=("FLOAT", ["n", 5]))
    samples = open_samples("random", model, max_samples=2, can_run=lambda feeds: feeds["wave"].shape[1] >= least)
    assert samples.shapes == {"wave": (length,), "state": (2, length), "fixed": (5,)}
    assert any(f"are {length}," in warning for warning in samples.warnings) == (length > 1)


def test_dimensions_that_are_given_or_fixed_do_not_grow(make: Make) -> None:
    asked: list[int] = []
    model = make(x=("FLOAT", ["n", "time"]))
    samples = open_samples("random", model, dims={"time": 3}, can_run=lambda feeds: bool(asked.append(1)))
    assert samples.shapes == {"x": (3,)}
    assert not asked, "there was nothing to choose"


def test_dimensions_do_not_grow_past_any_use(make: Make) -> None:
    model = make(x=("FLOAT", ["n", "a", "b", "c", "d"]))
    assert open_samples("random", model, max_samples=1, can_run=lambda feeds: False).shapes == {"x": (1, 1, 1, 1)}
