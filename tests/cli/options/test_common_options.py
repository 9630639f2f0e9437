"""Options that every command takes: hard links, custom ops."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxslim_cli.options.common_options import OPTION_SECTIONS, CommonOptions

Run = Callable[..., Any]


def linked(folder: Path) -> Path:
    """A model whose data file has a second name."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="w.bin")
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", info[:1], info[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    (folder / "first.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    os.link(folder / "first.bin", folder / "w.bin")
    return folder / "m.onnx"


def test_hard_links_are_taken_when_asked_for(run: Run, tmp_path: Path) -> None:
    path, out = linked(tmp_path), tmp_path / "out.onnx"
    for call in ((path, out), ("simplify", path, "-o", out)):
        out.unlink(missing_ok=True)
        refused = run(*call)
        assert refused.code == 3
        assert "--allow-hardlinks" in refused.err
        assert not out.exists()
        assert run(*call, "--allow-hardlinks").code == 0
        assert out.exists()
    assert run(path, out).code == 3, "trust ends with the command it was given to"


def custom(folder: Path) -> Path:
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    nodes = [
        helper.make_node("Identity", ["x"], ["i"]),
        helper.make_node("Secret", ["i"], ["s"], domain="acme"),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    model = helper.make_model(helper.make_graph(nodes, "g", info[:1], info[1:]), opset_imports=imports, ir_version=8)
    path = folder / "custom.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_an_op_of_an_unknown_domain_stays_and_what_is_around_it_is_simplified(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    assert run(custom(tmp_path), out).code == 0
    assert [node.op_type for node in onnx.load(out).graph.node] == ["Secret", "Relu"]


def test_running_an_op_of_an_unknown_domain_names_the_flag(run: Run, tmp_path: Path) -> None:
    outcome = run("validate", custom(tmp_path))
    assert outcome.code == 4
    assert "--custom-ops" in outcome.err


def test_what_is_no_library_of_custom_ops_is_refused(run: Run, cnn: str, tmp_path: Path) -> None:
    text = tmp_path / "lib.so"
    text.write_text("no library")
    for library in (text, tmp_path / "missing.so"):
        outcome = run("validate", cnn, "--custom-ops", library)
        assert outcome.code == 2
        assert str(library) in outcome.err


def test_a_library_of_custom_ops_is_loaded_when_named(run: Run, tmp_path: Path) -> None:
    extensions = pytest.importorskip("onnxruntime_extensions", reason="no library of custom ops is installed")
    info = [helper.make_tensor_value_info(name, TensorProto.STRING, [1]) for name in "xy"]
    node = helper.make_node("StringUpper", ["x"], ["y"], domain="ai.onnx.contrib")
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.contrib", 1)]
    model = helper.make_model(helper.make_graph([node], "g", info[:1], info[1:]), opset_imports=imports, ir_version=8)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert run("validate", path).code == 4
    assert run("validate", path, "--custom-ops", extensions.get_library_path()).code == 0


def test_a_common_option_is_a_field() -> None:
    options = {option.name for options in OPTION_SECTIONS.values() for option in options}
    # how far it is, what the folder of a model says of its inputs, and which part of the data is held back no option tells;
    # only commands that write have a receipt
    assert options == set(CommonOptions.__dataclass_fields__) - {"progress", "input_configs", "part", "receipt"}
