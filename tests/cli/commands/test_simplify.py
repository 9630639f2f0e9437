"""``onnxslim simplify`` as people call it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx

from tests.support.listed_weights import listed, names_of_inputs

Run = Callable[..., "object"]


def test_simplify_leaves_fewer_nodes_and_the_same_function(
    run: Run, calls: dict[str, list[object]], wide: str, tmp_path: Path
) -> None:
    document = run("simplify", *calls["simplify"], "--json").json
    out = tmp_path / "s.onnx"
    assert len(onnx.load(out).graph.node) < len(onnx.load(wide).graph.node)
    assert document["metrics"][0]["drop"] == 0
    compared = run("compare", wide, out, "--data", "random", "--json").json["comparison"]
    assert compared["equal"]


def test_a_result_named_without_its_option_is_told_where_it_goes(run: Run, cnn: str, tmp_path: Path) -> None:
    outcome = run("prune", cnn, tmp_path / "out.onnx")
    assert outcome.code == 2
    assert f"-o {tmp_path / 'out.onnx'}" in outcome.err


def test_weights_listed_as_inputs_stay_replaceable_where_that_is_asked_for(run: Run, tmp_path: Path) -> None:
    path, out = tmp_path / "listed.onnx", tmp_path / "out.onnx"
    path.write_bytes(listed().SerializeToString())
    assert any("listed as inputs" in line for line in run("simplify", path, "-o", out, "--json").json["warnings"])
    assert names_of_inputs(onnx.load(out)) == ["x"]
    document = run("simplify", path, "-o", out, "--force", "--keep-initializer-inputs", "--json").json
    assert names_of_inputs(onnx.load(out)) == names_of_inputs(listed())
    assert "keep_initializer_inputs: true" in document["recipe"]
