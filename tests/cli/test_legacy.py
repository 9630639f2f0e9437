"""``onnxslim IN [OUT]`` and ``onnxslim.slim``: the habits of the PyPI package onnxslim 0.1.98."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper

import onnxslim
from onnxslim.compat.legacy_options import FUSION_PATTERNS, OPTIMIZATIONS
from onnxslim.core.errors import GateError, UsageError

Run = Callable[..., "object"]
slim_module = importlib.import_module("onnxslim.compat.drop_in")


def outputs(model: onnx.ModelProto | str | Path, **feeds: np.ndarray) -> list[np.ndarray]:
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    return onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, feeds)


IMAGE = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)


def test_in_out_simplifies_and_prints_a_table(run: Run, wide: str, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    outcome = run(wide, out)
    assert outcome.code == 0
    assert "BatchNormalization" in outcome.out
    assert len(onnx.load(out).graph.node) < len(onnx.load(wide).graph.node)
    np.testing.assert_allclose(outputs(out, image=IMAGE)[0], outputs(wide, image=IMAGE)[0], rtol=1e-4, atol=1e-4)


def test_out_may_be_in(run: Run, wide: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    shutil.copy(wide, path)
    assert run(path, path).code == 0
    assert len(onnx.load(path).graph.node) < len(onnx.load(wide).graph.node)


def test_without_out_nothing_is_written(run: Run, wide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run(wide)
    assert outcome.code == 0
    assert "nothing was written" in outcome.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["inspect", "optimize"])
def test_a_file_called_like_a_command_is_reached_by_a_path(
    run: Run, wide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(wide, name)
    assert run(f"./{name}", "out.onnx").code == 0
    assert os.path.exists("out.onnx")
    outcome = run(name)
    assert outcome.code == 2
    assert f"./{name}" in outcome.err


def test_inspect_takes_several_models_and_dumps_them(
    run: Run, cnn: str, wide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run("--inspect", cnn, wide, "--dump-to-disk")
    assert outcome.code == 0
    assert "digits_cnn.onnx" in outcome.out
    lines = Path("digits_wide.onnx_model_info.csv").read_text().splitlines()
    assert lines[0] == "NodeName,OpType,OutputDtype,OutputShape"
    assert len(lines) > len(onnx.load(wide).graph.node)
    assert run(cnn, "--dump-to-disk").code == 2


def test_flags_take_several_values(run: Run, tmp_path: Path) -> None:
    path, out = tmp_path / "two.onnx", tmp_path / "out.onnx"
    onnx.save(two_inputs(), path)
    assert run(path, out, "--input-shapes", "a:2,4", "b:2,4", "--model-check", "--verbose").code == 0
    shapes = [[d.dim_value for d in i.type.tensor_type.shape.dim] for i in onnx.load(out).graph.input]
    assert shapes == [[2, 4], [2, 4]]


def two_inputs() -> onnx.ModelProto:
    """a (n, 4) + b (n, 4) → sum → relu → out; ``sum`` is a tensor within."""
    vi = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"], "add"),
        helper.make_node("Relu", ["sum"], ["out"], "relu"),
    ]
    inputs = [vi(name, TensorProto.FLOAT, ["n", 4]) for name in "ab"]
    graph = helper.make_graph(nodes, "g", inputs, [vi("out", TensorProto.FLOAT, ["n", 4])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


# The calls of others, verbatim, with what they do to the result: modelopt/onnx/quantization/quantize.py,
# optimum/exporters/onnx/convert.py and ultralytics' export to ONNX.


def test_model_optimizers_call(wide: str) -> None:
    onnx_model = onnx.load(wide)
    before = onnx_model.SerializeToString()
    model_simp = onnxslim.slim(onnx_model, skip_fusion_patterns=["FusionGemm"])
    assert onnx_model.SerializeToString() == before
    assert model_simp, "it says that the model could not be validated, and goes on with its own"
    onnx.checker.check_model(model_simp, full_check=True)


def test_optimums_call(wide: str) -> None:
    from onnxslim import slim

    file_path = os.path.join(os.path.dirname(wide), os.path.basename(wide))
    slimmed_model = slim(file_path)
    onnx.checker.check_model(slimmed_model)  # its check_and_save_model
    np.testing.assert_allclose(outputs(slimmed_model, image=IMAGE)[0], outputs(wide, image=IMAGE)[0], rtol=1e-4, atol=1e-4)


def test_ultralytics_call(wide: str, tmp_path: Path) -> None:
    model_onnx = onnx.load(wide)
    assert f"slimming with onnxslim {onnxslim.__version__}..."
    model_onnx = onnxslim.slim(model_onnx)
    for k, v in {"stride": 32, "names": {0: "zero"}}.items():
        meta = model_onnx.metadata_props.add()
        meta.key, meta.value = k, str(v)
    if getattr(model_onnx, "ir_version", 0) > 10:
        model_onnx.ir_version = 10
    f = tmp_path / "exported.onnx"
    onnx.save(model_onnx, f)
    assert len(onnx.load(f).graph.node) < len(onnx.load(wide).graph.node)
    assert outputs(f, image=IMAGE)[0].shape == outputs(wide, image=IMAGE)[0].shape


def test_a_saved_model_is_not_returned(wide: str, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    assert onnxslim.slim(wide, str(out)) is None
    assert onnxslim.slim(model=Path(wide), output_model=out, no_shape_infer=True, skip_fusion_patterns=False,
                         no_constant_folding=False, save_as_external_data=True, verbose=False) is None  # fmt: skip
    assert len(list(tmp_path.iterdir())) == 2  # the model, and its data beside it
    np.testing.assert_allclose(outputs(out, image=IMAGE)[0], outputs(wide, image=IMAGE)[0], rtol=1e-4, atol=1e-4)


def test_a_list_is_only_read(cnn: str, wide: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert onnxslim.slim([cnn, onnx.load(wide)]) is None
    assert capfd.readouterr() == ("", "")


def test_the_library_prints_nothing(wide: str, capfd: pytest.CaptureFixture[str]) -> None:
    onnxslim.slim(wide, model_check=True)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_keyword_is_an_error(wide: str) -> None:
    with pytest.raises(TypeError, match="outptu_model"):
        onnxslim.slim(wide, outptu_model="x.onnx")


def test_skipping_everything_changes_nothing(wide: str) -> None:
    result = onnxslim.slim(wide, skip_optimizations=list(OPTIMIZATIONS))
    assert [n.op_type for n in result.graph.node] == [n.op_type for n in onnx.load(wide).graph.node]


@pytest.mark.parametrize("names", [["FusionConvBN", "FusionConvTransposeBN"], True])
def test_a_skipped_fusion_is_left_alone(wide: str, names: list[str] | bool) -> None:
    ops = [node.op_type for node in onnxslim.slim(wide, skip_fusion_patterns=names).graph.node]
    assert ops.count("BatchNormalization") == 4
    assert "BatchNormalization" not in [node.op_type for node in onnxslim.slim(wide).graph.node]


def test_matmul_and_add_stay_apart_without_fusion_gemm(samples: Path) -> None:
    mlp = samples / "digits_mlp.onnx"
    assert "Gemm" not in [n.op_type for n in onnxslim.slim(mlp, skip_fusion_patterns=["FusionGemm"]).graph.node]


def test_what_is_skipped_exists_here() -> None:
    from onnxslim.simplification.rule_table import RULES

    known = {rule.name for rule in RULES}
    assert {name for names in FUSION_PATTERNS.values() for name in names} <= known


def test_a_pattern_of_no_name_is_refused(wide: str) -> None:
    with pytest.raises(UsageError, match="FusionX"):
        onnxslim.slim(wide, skip_fusion_patterns=["FusionX"])


def test_input_shapes_are_fixed_and_minus_one_leaves_a_dimension(wide: str) -> None:
    fixed = onnxslim.slim(wide, input_shapes=["image:5,1,8,8"])
    assert [d.dim_value for d in fixed.graph.input[0].type.tensor_type.shape.dim] == [5, 1, 8, 8]
    assert fixed.graph.output[0].type.tensor_type.shape.dim[0].dim_value == 5
    free = onnxslim.slim(wide, input_shapes={"image": [-1, 1, 8, 8]})
    assert free.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_outputs_are_cut_and_cast() -> None:
    model = onnxslim.slim(two_inputs(), outputs=["sum:fp16"])
    assert [o.name for o in model.graph.output] == ["sum"]
    (found,) = outputs(model, a=np.ones((1, 4), np.float32), b=-2 * np.ones((1, 4), np.float32))
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, -np.ones((1, 4)))


def test_inputs_are_cut() -> None:
    model = onnxslim.slim(two_inputs(), inputs=["sum"])
    assert [i.name for i in model.graph.input] == ["sum"]
    (found,) = outputs(model, sum=np.array([[-1, 0, 1, 2]], np.float32))
    np.testing.assert_array_equal(found, [[0, 0, 1, 2]])


def test_inputs_of_another_type_are_cast() -> None:
    model = onnxslim.slim(two_inputs(), inputs=["a:int32", "b"])
    (found,) = outputs(model, a=np.array([[1, 2, 3, 4]], np.int32), b=np.zeros((1, 4), np.float32))
    np.testing.assert_array_equal(found, [[1, 2, 3, 4]])


def test_an_input_that_is_still_needed_is_named() -> None:
    with pytest.raises(UsageError, match="input b"):
        onnxslim.slim(two_inputs(), inputs=["a"])
    with pytest.raises(UsageError, match="nope"):
        onnxslim.slim(two_inputs(), outputs=["nope"])
    with pytest.raises(UsageError, match="shape 1,2,3"):
        onnxslim.slim(two_inputs(), input_shapes=["a:1,2,3"])


def test_float16_inside_and_at_the_inputs_and_outputs_and_back(wide: str) -> None:
    half = onnxslim.slim(wide, dtype="float16")
    assert {v.type.tensor_type.elem_type for v in (*half.graph.input, *half.graph.output)} == {TensorProto.FLOAT16}
    assert [v.name for v in (*half.graph.input, *half.graph.output)] == ["image", "logits"]
    weights = [tensor for tensor in half.graph.initializer if len(tensor.dims) > 1]
    assert all(tensor.data_type == TensorProto.FLOAT16 for tensor in weights)
    assert half.ByteSize() < 0.6 * onnxslim.slim(wide).ByteSize()
    expected = outputs(wide, image=IMAGE)[0]
    (found,) = outputs(half, image=IMAGE.astype(np.float16))
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())
    back = onnxslim.slim(half, dtype="fp32")
    assert "Cast" not in [node.op_type for node in back.graph.node]
    assert {tensor.data_type for tensor in back.graph.initializer} <= {TensorProto.FLOAT, TensorProto.INT64}
    np.testing.assert_allclose(outputs(back, image=IMAGE)[0], expected, atol=0.02 * np.abs(expected).max())


def test_what_would_overflow_in_float16_keeps_float32() -> None:
    nodes = [
        helper.make_node("Add", ["x", "large"], ["y"], "add"),
        helper.make_node("Relu", ["y"], ["z"], "relu"),
        helper.make_node("Cast", ["z"], ["h"], "half", to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["h"], ["out"], "whole", to=TensorProto.FLOAT),
    ]
    vi = helper.make_tensor_value_info
    large = helper.make_tensor("large", TensorProto.FLOAT, [1], [1e9])
    graph = helper.make_graph(nodes, "g", [vi("x", TensorProto.FLOAT, [4])], [vi("out", TensorProto.FLOAT, [4])], [large])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    half = onnxslim.slim(model, dtype="fp16")
    assert {tensor.name: tensor.data_type for tensor in half.graph.initializer} == {"large": TensorProto.FLOAT}
    wide = onnxslim.slim(model, dtype="fp32")
    assert TensorProto.FLOAT16 not in [a.i for node in wide.graph.node for a in node.attribute if a.name == "to"]


def test_the_same_element_type_is_no_conversion(wide: str) -> None:
    same = onnxslim.slim(wide, dtype="fp32")
    assert same.SerializeToString() == onnxslim.slim(wide).SerializeToString()


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simplification that is wrong."""
    right = slim_module.simplify

    def simplify(model: object, options: object) -> object:
        result, report = right(model, options)
        for node in result.graph:
            if node.op_type == "Gemm":
                node.attributes.add(ir.AttrFloat32("alpha", 1.01))
        return result, report

    monkeypatch.setattr(slim_module, "simplify", simplify)


def test_nor_does_it_when_something_is_wrong(wide: str) -> None:
    code = f"import onnxslim; onnxslim.slim({wide!r}, skip_optimizations=['weight_tying'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.usefixtures("wrong")
def test_a_failed_check_is_seen_by_everybody(run: Run, wide: str, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    assert onnxslim.slim(wide, model_check=True) is None
    with pytest.raises(GateError, match="logits differs"):
        onnxslim.slim(wide, out, model_check=True)
    assert run(wide, out, "--model-check").code == 5
    assert not out.exists()


def test_the_check_takes_shapes_and_arrays(run: Run, wide: str, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", IMAGE)
    for given in ("image:2,1,8,8", f"image:{tmp_path / 'image.npy'}"):
        assert run(wide, tmp_path / "o.onnx", "--model-check", "--model-check-inputs", given).code == 0
    assert run(wide, tmp_path / "o.onnx", "--model-check", "--model-check-inputs", "image").code == 2
