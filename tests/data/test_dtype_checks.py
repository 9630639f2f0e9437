"""Numbers are cast within their kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.sources import open_samples

Make = Callable[..., ir.Model]


def test_numbers_are_cast_within_their_kind_when_they_fit(make: Make) -> None:
    model = make(x=("FLOAT16", ["n"]), i=("UINT8", ["n"]))
    (batch,) = open_samples({"x": np.array([0.5, 1.5]), "i": np.array([0, 255])}, model).batches(2)
    assert batch["x"].dtype == np.float16
    assert batch["i"].dtype == np.uint8
    with pytest.raises(InvalidDataError, match=r"'x': sample 1 holds 100000.0, expected finite float16"):
        list(open_samples({"x": np.array([0.5, 1e5]), "i": np.array([0, 1])}, model).batches(2))
    with pytest.raises(InvalidDataError, match="'i': sample 0 holds -1, expected finite uint8"):
        list(open_samples({"x": np.array([0.5, 1]), "i": np.array([-1, 1])}, model).batches(2))
