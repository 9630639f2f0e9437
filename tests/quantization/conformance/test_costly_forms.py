"""Both forms of each pair run, on the same input."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.quantization.conformance.costly_forms import COSTLY_FORMS
from onnxslim.runtime.session import Session


@pytest.mark.parametrize("form", COSTLY_FORMS)
def test_a_form_and_the_better_one_take_and_give_the_same_shapes(form: str) -> None:
    shape, costly, better = COSTLY_FORMS[form]()
    feed = {"x": np.zeros(shape, np.float32)}
    assert Session(costly).run(feed)["y0"].shape == Session(better).run(feed)["y0"].shape
