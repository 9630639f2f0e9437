"""NaN of the original is told of where dynamic int8 lets it reach the other samples of a batch, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.validation.nan_samples import NanSamples
from tests.support.quantize_graphs import model

DYNAMIC = model("g (float[n,4] x) => (float[n,4] y) { c, s, z = DynamicQuantizeLinear(x)  y = DequantizeLinear(c, s, z) }")
FLOAT = model("g (float[n,4] x) => (float[n,4] y) { y = Relu(x) }")


def count(batches: list[np.ndarray], **outputs: np.ndarray) -> tuple[list[str], list[str]]:
    found = NanSamples({"dynamic": DYNAMIC, "float": FLOAT})
    for batch in batches:
        found.add({"y": batch, **outputs}, len(batch))
    return found.find_warnings("dynamic"), found.find_warnings("float")


def test_samples_with_nan_are_counted_and_only_dynamic_ranges_are_warned_of() -> None:
    rows = np.zeros((6, 4), np.float32)
    rows[[1, 4], 2] = np.nan
    (line,), others = count([rows, np.zeros((3, 4), np.float32)])
    assert line.startswith("2 samples are NaN in the original, and judged in batches of up to 6")
    assert others == []


@pytest.mark.parametrize("value", [0.0, np.inf, -np.inf])
def test_what_is_no_nan_is_no_reason(value: float) -> None:
    assert count([np.full((4, 4), value, np.float32)]) == ([], [])


def test_single_samples_and_outputs_without_rows_are_passed_over() -> None:
    lost = np.full((1, 4), np.nan, np.float32)
    assert count([lost, lost]) == ([], [])
    assert count([np.zeros((4, 4), np.float32)], loss=np.array(np.nan, np.float32)) == ([], [])
