"""A recipe carried out and judged: gates, slower results, noise, figures of the fit data."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import pytest

from onnxslim.core.errors import GateError, UnsupportedError, UsageError
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.tools.benchmarking import benchmark
from onnxslim.tools.profiling import profile
from onnxslim.validation.gates import Gates
from tests.support import quantize_graphs
from tests.support.digits_task import CALIB, EVAL, MODEL

STATIC = Recipe((make_step("simplify"), make_step("quantize", placement="static")), Gates(max_drop=0.01))


def test_a_recipe_that_cannot_meet_its_gate_fails_with_the_evidence() -> None:
    harsh = Recipe((make_step("prune", remove=0.9, of="params", round_to=1, criterion="random"),), Gates(max_drop=1e-6))
    with pytest.raises(GateError, match="top1 drops by") as caught:
        run_recipe(MODEL, harsh, data=CALIB, eval_data=EVAL, time_it=False)
    assert caught.value.result.evaluation is not None


def test_figures_of_the_fit_data_stand_beside_those_held_back() -> None:
    result = run_recipe(MODEL, STATIC, data=CALIB, eval_data=EVAL, time_it=False)
    fitted = result.as_json()["fit_metrics"]
    assert "agreement" in [metric["name"] for metric in fitted]
    assert all(metric["n"] <= 256 for metric in fitted)


#: What inputs made up at random do not go with: each by inputs, and the nodes from them to ``h`` of 64 columns.
CHOOSY = {
    "a mask as long as past and present": (
        "float[b,s,64] x, float[b,p,64] past, float[b,t,64] mask",
        "k = Concat<axis=1>(past, x) all = Shape(k) m = Reshape(mask, all) h = Mul(k, m)",
    ),
    "a shape": ("float[n,64] x, int64[2] shape", "h = Reshape(x, shape)"),
    "a length that is checked": ("float[n,64] x, int64[1] k", "h, i = TopK(x, k)"),
    "strings": ("string[n,64] x", "h = Cast<to=1>(x)"),
    "rows in sevens": ("float[n,t,64] x", "seven = Constant<value_ints=[-1,7,64]>() h = Reshape(x, seven)"),
}


def make_choosy(name: str) -> ir.Model:
    inputs, nodes = CHOOSY[name]
    return quantize_graphs.model(
        f"g ({inputs}) => (float y) {{ {nodes} r = Relu(h) y = MatMul(r, w) }}",
        w=quantize_graphs.weight(64, 64),
    )


@pytest.mark.parametrize("name", CHOOSY)
@pytest.mark.parametrize(
    "options", [{"weights": "int8"}, {"weights": "codebook:16"}, {"weights": "float16"}, {"target": "cuda"}]
)
def test_what_needs_no_data_does_not_need_the_model_to_run(name: str, options: dict[str, str]) -> None:
    """The file is there, untimed, and says what would time it."""
    result = run_recipe(make_choosy(name), Recipe((make_step("quantize", **options),)))
    assert result.model is not None
    assert result.latency is None
    # nothing is timed for a target that is not here, whatever the inputs
    said = "not timed: the target is not here" if "target" in options else "not timed and not run: "
    assert any(line.startswith(said) and ("target" in options or "--data" in line) for line in result.warnings)
    assert ("onnxslim.note" in result.model.metadata_props) == ("target" in options)
    assert result.as_json()["output"]["bytes"] < result.as_json()["input"]["bytes"]


@pytest.mark.parametrize("name", CHOOSY)
@pytest.mark.parametrize("tool", [lambda model: benchmark([model]), profile])
def test_what_has_to_run_a_model_asks_for_data_it_runs_with(name: str, tool: Callable[[ir.Model], object]) -> None:
    with pytest.raises((UsageError, UnsupportedError), match="made up") as caught:
        tool(make_choosy(name))
    assert "--data" in str(caught.value.hint)
