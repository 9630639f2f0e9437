"""Opening data: every spelling of the same data is the same samples, and what does not fit is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.data.sources import open_samples
from onnxslim.runtime.session import Session
from tests.support.feeds import rows

Make = Callable[..., ir.Model]
X = np.arange(24, dtype=np.float32).reshape(4, 6)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "no data given"),
        ("", "an empty name"),
        ("missing.npz", "missing.npz: No such file"),
        ("missing", "missing: no such file or folder"),
        ("/dev/null", "is not data this tool reads"),
        (3, "3 is not data this tool reads"),
    ],
)
def test_a_source_that_is_none_is_a_usage_error(one: ir.Model, source: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_samples(source, one)


def test_options_that_do_not_apply_are_usage_errors(one: ir.Model) -> None:
    with pytest.raises(UsageError, match="--preprocess applies to image folders"):
        open_samples(X, one, preprocess="crop=3")
    with pytest.raises(UsageError, match="--max-samples 0: expected at least 1"):
        open_samples(X, one, max_samples=0)


def test_max_samples_draws_a_seeded_sample_in_proportion_to_the_labels(one: ir.Model) -> None:
    x = np.arange(600, dtype=np.float32).reshape(100, 6)
    labels = np.repeat([0, 1], [90, 10])
    samples = open_samples({"x": x, "labels": labels}, one, max_samples=20, seed=3)
    assert samples.labels is not None
    assert np.bincount(samples.labels).tolist() == [18, 2]
    assert samples.source == "arrays in memory, 20 of 100 samples (seed 3)"
    again = open_samples({"x": x, "labels": labels}, one, max_samples=20, seed=3)
    assert np.array_equal(rows(samples), rows(again))
    other = open_samples({"x": x, "labels": labels}, one, max_samples=20, seed=4)
    assert not np.array_equal(rows(samples), rows(other))
    assert len(open_samples(X, one, max_samples=50)) == 4


@pytest.mark.parametrize("kind", ["BFLOAT16", "FLOAT8E4M3FN", "INT4", "UINT4"])
def test_inputs_of_types_that_numpy_does_not_have_cannot_be_fed(make: Callable[..., ir.Model], kind: str) -> None:
    x = np.ones((4, 6), np.float32)
    for source in ("random", {"x": x}):
        with pytest.raises(UnsupportedError, match=rf"input 'x' is {kind.lower()}\[n,6\]: the runtime takes no arrays"):
            open_samples(source, make(x=(kind, ["n", 6])))
    model = make(x=("FLOAT", ["n", 6]), k=(kind, [6]))
    value = next(v for v in model.graph.inputs if v.name == "k")
    value.const_value = ir.tensor(np.zeros(6, np.float32), name="k")
    model.graph.register_initializer(value)
    assert open_samples({"x": x}, model).input_names == ["x"], "one that is a default need not be fed"


def build_empty(first: str, second: str) -> ir.Model:
    """A model of which one input or both may have a size fixed at 0."""
    return ir.from_onnx_text(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        g (float[{second}] e, float[{first}] x) => (float[n,5] y) {{
            zero = Constant <value = float {{0}}> ()  s = ReduceSum <keepdims = 0> (e)
            p = Mul (s, zero)  r = Relu (x)  y = Add (r, p)
        }}"""
    )


@pytest.mark.parametrize("empty", ["0,3", "n,0", "n,2,0"])
def test_an_input_of_nothing_is_fed_with_nothing(empty: str) -> None:
    model = build_empty("n,5", empty)
    samples = open_samples("random", model, max_samples=4)
    batch = next(iter(samples.batches(4)))
    n = len(batch["x"])
    assert batch["e"].shape == tuple(n if size == "n" else int(size) for size in empty.split(","))
    assert Session(model).run(batch)["y"].shape == (n, 5)


def test_a_model_that_takes_nothing_at_all_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"'e' is float\[0,3\]: with a size fixed at 0 in every input"):
        open_samples("random", build_empty("0,5", "0,3"))
