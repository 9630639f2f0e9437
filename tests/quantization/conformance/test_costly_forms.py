"""Both forms of each pair run, on the same input."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.quantization.conformance.costly_forms import COSTLY_FORMS, measure_costs
from onnxslim.quantization.conformance.toy_models import ToyModel
from onnxslim.runtime.session import Session


@pytest.mark.parametrize("form", COSTLY_FORMS)
def test_a_form_and_the_better_one_take_and_give_the_same_shapes(form: str) -> None:
    shape, costly, better = COSTLY_FORMS[form]()
    feed = {"x": np.zeros(shape, np.float32)}
    assert Session(costly).run(feed)["y0"].shape == Session(better).run(feed)["y0"].shape


def test_a_form_that_the_runtime_does_not_run_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older releases lack kernels; doctor tells of what there is."""
    toy = ToyModel(1, 4)
    unknown = toy.build(toy("NoSuchOp", toy.x))
    fine = ToyModel(1, 4)
    better = fine.build(fine("Relu", fine.x))
    forms = {"refused": lambda: ((1, 4), unknown, better), "fine": lambda: ((1, 4), better, better)}
    monkeypatch.setattr("onnxslim.quantization.conformance.costly_forms.COSTLY_FORMS", forms)
    assert set(measure_costs()) == {"fine"}
