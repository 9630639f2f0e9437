"""What each weight may be stored in, what that takes, and that the runtime reads what is written."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph.editor import GraphEditor
from onnxslim.model_io import model_file
from onnxslim.quantization.numerics.block_grids import BlockFormat
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.weight_only.blocks import ACCURACY_LEVEL
from onnxslim.quantization.weight_only.mixed.formats import (
    EXPANDED_FORMATS,
    BlockFormats,
    MixedWeight,
    find_mixed_weights,
    rebind_weights,
)
from onnxslim.runtime.session import Session
from tests.support.encoder import tied
from tests.support.quantize_graphs import model, weight

BLOCKS = [BlockFormat(4, 32, True), BlockFormat(8, 32)]
FORMATS = BlockFormats(BLOCKS, BLOCKS)


def convolution_and_layer() -> ir.Model:
    text = (
        "g (float[n,16,4,4] x) => (float[n,24] y) "
        "{ a = Conv (x, v) \n b = GlobalAveragePool (a) \n c = Flatten (b) \n y = MatMul (c, w) }"
    )
    return prepare_model(model(text, v=weight(64, 16, 3, 3), w=weight(64, 24)))[0]


def write(found: ir.Model, weights: list[MixedWeight], text: str) -> tuple[ir.Model, dict[str, np.ndarray]]:
    """The model with each weight in the format ``text``, or its own first, and what each then stands for."""
    copy = model_file.clone(found)
    editor, arrays = GraphEditor(copy.graph), {}
    for one in rebind_weights(copy, weights):
        rounded = one.round(text if text in one.formats else one.formats[0])
        arrays[one.name] = one.expand(rounded)
        one.write(editor, rounded)
    return copy, arrays


def test_layers_have_blocks_to_choose_from_and_convolutions_what_is_expanded() -> None:
    weights = find_mixed_weights(convolution_and_layer(), FORMATS)
    assert {one.name: one.formats for one in weights} == {"w": ("uint4:32", "int8:32"), "v": EXPANDED_FORMATS}


@pytest.mark.parametrize("text", ["uint4:32", "int8:32", "codebook:16", "codebook:4"])
def test_the_runtime_computes_with_what_the_formats_stand_for(text: str) -> None:
    found = convolution_and_layer()
    weights = find_mixed_weights(found, FORMATS)
    result, arrays = write(found, weights, text)
    floats = model_file.clone(found)
    for name, array in arrays.items():
        stored = array.T if name == "w" else array
        floats.graph.initializers[name].const_value = ir.tensor(np.ascontiguousarray(stored), name=name)
    feed = {"x": np.random.default_rng(0).standard_normal((2, 16, 4, 4)).astype(np.float32)}
    got, wanted = (Session(one).run(feed)["y"] for one in (result, floats))
    # int8 activations in blocks lose a little
    assert np.linalg.norm(got - wanted) < 0.02 * np.linalg.norm(wanted)
    levels = {node.attributes.get_int("accuracy_level") for node in result.graph if node.op_type == "MatMulNBits"}
    assert levels == {ACCURACY_LEVEL}


@pytest.mark.parametrize("transposed_by", ["Transpose", "Gemm"])
@pytest.mark.parametrize("text", ["uint4:32", "int8:32"])
def test_a_tied_table_is_stored_once_in_blocks_for_layer_and_lookup(transposed_by: str, text: str) -> None:
    found = prepare_model(tied(transposed_by))[0]
    weights = find_mixed_weights(found, FORMATS)
    result, arrays = write(found, weights, text)
    assert Counter(node.op_type for node in result.graph)["GatherBlockQuantized"] == 1
    codes = [value for value in result.graph.initializers.values() if value.dtype == ir.DataType.UINT8]
    assert sum(value.const_value.size for value in codes if value.const_value is not None) <= 1.1 * weights[0].count_bytes(
        text
    )
    ids = np.array([3, 400, 3, 17])
    got = Session(result).run({"ids": ids})["y"]
    table = arrays["table"]
    assert np.linalg.norm(got - table[ids] @ table.T) < 0.02 * np.linalg.norm(got)


def test_without_lookups_of_blocks_a_tied_table_is_expanded() -> None:
    found = prepare_model(tied("Gemm"))[0]
    (only,) = find_mixed_weights(found, BlockFormats(BLOCKS, []))
    assert only.formats == EXPANDED_FORMATS


@pytest.mark.parametrize(("width", "formats"), [(64, ("uint4:32", "int8:32")), (96, ("int8:32",))])
def test_tables_have_no_zero_points_that_end_within_a_byte(width: int, formats: tuple[str, ...]) -> None:
    """Which releases before 1.27 read wrongly, whatever the installed one says of it."""
    text = f"g (int64[n] ids) => (float[n,{width}] y) {{ y = Gather (table, ids) }}"
    found = prepare_model(model(text, table=weight(100, width)))[0]
    (only,) = find_mixed_weights(found, FORMATS)
    assert only.formats == formats
    text = f"g (float[n,{width}] x) => (float[n,64] y) {{ y = MatMul (x, w) }}"
    (layer,) = find_mixed_weights(prepare_model(model(text, w=weight(width, 64)))[0], FORMATS)
    assert layer.formats == ("uint4:32", "int8:32")


def test_rows_that_blocks_would_fill_up_too_much_have_none() -> None:
    text = "g (float[n,36] x) => (float[n,40] y) { y = MatMul (x, w) }"
    found = prepare_model(model(text, w=weight(36, 40)))[0]
    (only,) = find_mixed_weights(found, FORMATS)
    assert only.formats[0] == "int8"


def test_bytes_are_about_those_of_the_file() -> None:
    found = convolution_and_layer()
    weights = find_mixed_weights(found, FORMATS)
    sizes = {}
    for text in ("codebook:16", "codebook:4"):
        result, _ = write(found, weights, text)
        counted = sum(one.count_bytes(text if text in one.formats else one.formats[0]) for one in weights)
        sizes[text] = len(model_file.to_bytes(result)) - counted
    assert abs(sizes["codebook:16"] - sizes["codebook:4"]) < 400
