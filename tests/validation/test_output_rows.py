"""Outputs as rows."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.validation.output_rows import NoRowsError, as_rows


def test_a_sample_is_on_the_first_axis_and_of_one_sample_all_is_its_row() -> None:
    rows = np.zeros((4, 3))
    assert as_rows("y", rows, 4) is rows
    assert as_rows("y", rows, 1).shape == (1, 4, 3)
    assert as_rows("y", np.float32(2), 1).shape == (1,)
    with pytest.raises(NoRowsError, match="output y has shape"):
        as_rows("y", rows, 3)
