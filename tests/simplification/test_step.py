"""The step as a whole: exact, no larger, idempotent, deterministic, and its caller's names are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.core.errors import UsageError
from onnxslim.graph import shapes
from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.simplification.step import SimplifyOptions, simplify

#: Free dimensions that a model cannot run without, and inputs whose values mean something.
DIMS = {"silero": {"sequence": 512}, "nudenet": {"height": 96, "width": 96}, "ppocrv5": {"d1": 96, "d2": 96}}
FIXED = {"sr": np.asarray(16000, np.int64)}

ZOO = (
    "basic_pitch_nmp",
    "cifar10_resnet56",
    "efficientnet_lite0",
    "magika_standard_v3_3",
    "mobilenet_v2",
    "nudenet_320n_yolov8",
    "ppocrv5_det",
    "silero_vad_16k_op15",
)


def feeds(model: ir.Model, seed: int, dims: dict[str, int]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}
    for value in shapes.get_required_inputs(model):
        name, size = str(value.name), shapes.resolve_sizes(value, dims)
        assert value.dtype is not None
        dtype = value.dtype.numpy()
        array = rng.standard_normal(size) if dtype.kind == "f" else rng.integers(0, 100, size)
        found[name] = FIXED.get(name, array.astype(dtype))
    return found


@pytest.mark.parametrize("name", ZOO)
def test_a_real_model_comes_out_equal_and_stable(zoo: Path, name: str) -> None:
    path = zoo / f"{name}.onnx"
    result, report = simplify(path)
    dims = next((value for key, value in DIMS.items() if name.startswith(key)), {})
    fed = feeds(model_file.load(path), 0, dims)
    plain = SessionConfig(optimize=False)
    before, after = Session(model_file.load(path), plain).run(fed), Session(result, plain).run(fed)
    assert list(before) == list(after)
    for key, array in before.items():
        assert np.abs(array - after[key]).max() <= 1e-4 * np.abs(array).max()
    again, second = simplify(result)
    assert model_file.to_bytes(again) == model_file.to_bytes(result)
    assert not second.changed
    assert report.details["nodes"]["after"] <= report.details["nodes"]["before"]
    assert len(model_file.to_bytes(result)) <= 1.02 * path.stat().st_size


def test_a_rule_to_leave_out_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no rule conv\+batchnrm") as caught:
        SimplifyOptions(skip=("conv+batchnrm",))
    assert "conv+batchnorm" in str(caught.value.hint)


def test_a_rewrite_to_leave_out_that_never_comes_up_is_said() -> None:
    net = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]> g (float[n] x) => (float[n] y)
        { a = Identity (x)  y = Relu (a) }"""
    )
    net.graph.node[0].name = "first"
    options = SimplifyOptions(leave_out=("identities at first", "identities at second"))
    _, report = simplify(net, options)
    assert [line for line in report.warnings if "left out" in line] == [
        "exact rewrites left out, slower where they were timed: identities at first",
        "leave_out: identities at second: nothing of this model, so that nothing was left out by it",
    ]
