"""``onnxslim.slim`` as others call it, and what its keywords do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxslim
from onnxslim.compat.legacy_options import OPTIMIZATIONS
from onnxslim.core.errors import UsageError
from tests.support.legacy import outputs, two_inputs
from tests.support.listed_weights import listed, names_of_inputs

IMAGE = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)


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


def test_nor_does_it_when_something_is_wrong(wide: str) -> None:
    code = f"import onnxslim; onnxslim.slim({wide!r}, skip_optimizations=['weight_tying'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_weights_that_are_listed_as_inputs_become_constants_as_in_the_package(tmp_path: Path) -> None:
    assert [value.name for value in onnxslim.slim(listed()).graph.input] == ["x"]
    kept = onnxslim.slim(listed(), keep_initializer_inputs=True)
    assert names_of_inputs(kept) == names_of_inputs(listed())
    np.save(tmp_path / "gain.npy", np.float32(2.0))
    fed = onnxslim.slim(listed(), model_check=True, model_check_inputs=[f"gain:{tmp_path / 'gain.npy'}"])
    assert names_of_inputs(fed) == ["x", "gain"]


def test_where_nothing_can_be_float16_the_model_is_simplified_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    node = onnx.helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.5], scale=[2.0])
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 2]) for name in "xy")
    opsets = [onnx.helper.make_opsetid("", 13), onnx.helper.make_opsetid("ai.onnx.ml", 1)]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y]), opset_imports=opsets, ir_version=8)
    with caplog.at_level("WARNING", logger="onnxslim"):
        result = onnxslim.slim(model, dtype="fp16")
    assert result.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert "no node can compute in float16" in caplog.text
