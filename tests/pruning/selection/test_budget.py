"""Budgets are met and hardly exceeded."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from tests.support import nets
from tests.support.pruned import run_prune

NETS = {"residual": nets.residual, "mobile": nets.mobile, "mlp": nets.mlp}


@pytest.mark.parametrize("of", ["params", "macs"])
@pytest.mark.parametrize("net", NETS)
def test_the_budget_is_met_and_hardly_exceeded(net: str, of: str) -> None:
    model = NETS[net]()
    pruned, report = run_prune(model, remove=0.3, of=of)
    before, after = getattr(compute_cost(model), of), getattr(compute_cost(pruned), of)
    assert 0.55 * before < after <= 0.7 * before
    assert report.changed[of] == before - after


def test_a_size_is_met() -> None:
    model = nets.residual()
    size = len(model_file.to_bytes(model)) * 2 // 3
    pruned, _ = run_prune(model, max_size=size)
    assert len(model_file.to_bytes(pruned)) <= size


def test_a_size_it_already_has_is_no_budget() -> None:
    with pytest.raises(UsageError, match="already has"):
        run_prune(nets.mlp(), max_size=10**9)


@pytest.mark.parametrize("of", ["params", "macs"])
def test_a_model_without_layers_has_nothing_to_prune(of: str) -> None:
    model = ir.from_onnx_text("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,4] x) => (float[n,4] y) { y = Relu(x) }""")
    with pytest.raises(UnsupportedError, match=f"nothing to prune: the model has no {of}"):
        run_prune(model, remove=0.2, of=of)
