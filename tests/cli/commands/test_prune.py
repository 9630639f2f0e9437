"""``onnxslim prune`` as people call it: what goes, what is refused, and what they are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.graph.constants import get_const_array
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.pipeline import recipe_run
from tests.support.pruned import time_by_macs

Run = Callable[..., "object"]
#: A budget that no clock has a say in.
BY_COUNT = ["--remove", "20%", "--of", "params", "--round-to", "1"]


def test_a_budget_that_cannot_be_met_exits_5_and_says_what_can(run: Run, cnn: str, calib: str, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    outcome = run("prune", cnn, "-o", out, "--data", calib, "--max-samples", 40, "--remove", "99.999%", "--of", "macs")
    assert outcome.code == 5
    assert "is the most that can go" in outcome.err
    assert "pinned: " in outcome.err
    assert not out.exists()


def test_a_quantised_model_exits_4(run: Run, cnn: str, calib: str, tmp_path: Path) -> None:
    fit = ["--data", calib, "--max-samples", 40]
    assert run("quantize", cnn, "-o", tmp_path / "q.onnx", *fit, "--placement", "static").code == 0
    outcome = run("prune", tmp_path / "q.onnx", "-o", tmp_path / "p.onnx", *fit, "--remove", "10%")
    assert outcome.code == 4
    assert "prune before quantising" in outcome.err
    assert not (tmp_path / "p.onnx").exists()


@pytest.mark.parametrize("sparsity", ["50%", "2:4", "40%:1x4"])
def test_zeros_alone_need_no_data_and_take_no_channel(run: Run, cnn: str, tmp_path: Path, sparsity: str) -> None:
    out = tmp_path / "out.onnx"
    outcome = run("prune", cnn, "-o", out, "--sparsity", sparsity, "--json")
    assert outcome.code == 0
    document = outcome.json
    assert document["output"]["params"] == document["input"]["params"]
    told = document["steps"][-1]
    assert told["changed"]["zeros"] > 0
    before, after = told["details"]["zeros"]["compressed_bytes"]
    assert after < before
    assert any("no faster" in warning for warning in told["warnings"])


def test_few_rows_are_regularised_and_said(run: Run, cnn: str, calib: str, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    outcome = run("prune", cnn, "-o", out, "--data", calib, "--max-samples", 8, *BY_COUNT, "--json")
    assert outcome.code == 0
    assert any("regularised" in warning for warning in outcome.json["steps"][-1]["warnings"])


def test_the_scales_of_batch_norm_are_read_before_they_are_folded(
    run: Run, calib: str, tmp_path: Path, normed: Path
) -> None:
    out = tmp_path / "out.onnx"
    assert run("prune", normed, "-o", out, "--data", "random", *BY_COUNT, "--remove", "30%", "--criterion", "bn").code == 0
    pruned = model_file.load(out)
    ops = [node.op_type for node in pruned.graph]
    assert "BatchNormalization" not in ops
    assert compute_cost(pruned).params <= 0.7 * compute_cost(model_file.load(normed)).params
    kept = get_const_array(next(iter(pruned.graph)).inputs[1])
    filters = get_const_array(next(iter(model_file.load(normed).graph)).inputs[1])
    assert kept is not None
    assert filters is not None
    likeness = unit(kept) @ unit(filters).T
    assert set(range(1, 16, 2)) <= set(likeness.argmax(axis=1).tolist()), "a channel of a large scale went"
    np.testing.assert_allclose(likeness.max(axis=1), 1, atol=1e-5)


def test_random_data_time_a_model_and_tell_nothing_of_it(run: Run, cnn: str, tmp_path: Path) -> None:
    outcome = run("prune", cnn, "-o", tmp_path / "out.onnx", "--data", "random", *BY_COUNT, "--json")
    assert outcome.code == 0
    assert any("ranked by their weights alone" in warning for warning in outcome.json["warnings"])
    assert "repair" not in outcome.json["steps"][-1]["details"]


@pytest.mark.parametrize(("budget", "code"), [(["--remove", "20%"], 5), (BY_COUNT, 0)])
def test_a_result_that_is_slower_is_refused_unless_a_count_was_asked_for(
    run: Run, cnn: str, calib: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: list[str], code: int
) -> None:
    monkeypatch.setattr(recipe_run, "is_slower", lambda latency: True)
    time_by_macs(monkeypatch)
    out = tmp_path / "out.onnx"
    outcome = run("prune", cnn, "-o", out, "--data", calib, "--max-samples", 60, "--round-to", "1", *budget)
    assert outcome.code == code
    assert out.exists() == (code == 0)
    first_line = (outcome.out if code == 0 else outcome.err).splitlines()[0]
    assert "slower than the original" in first_line


def unit(filters: np.ndarray) -> np.ndarray:
    """(n, …) as n vectors of length 1."""
    flat = filters.reshape(len(filters), -1)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def test_what_comes_out_runs_as_simplified_too(run: Run, wide: str, calib: str, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    outcome = run("prune", wide, "-o", out, "--data", calib, "--max-samples", 60, *BY_COUNT, "--json")
    assert outcome.code == 0
    assert [step["name"] for step in outcome.json["steps"]] == ["simplify", "prune"]
    assert "BatchNormalization" not in {node.op_type for node in model_file.load(out).graph}


@pytest.fixture
def normed(tmp_path: Path) -> Path:
    """Conv, BatchNormalization, Relu, Conv: every second channel's scale is near nothing."""
    rng = np.random.default_rng(0)
    gamma = np.where(np.arange(16) % 2, 1.0, 0.01)
    arrays = {
        "w": rng.normal(size=(16, 3, 3, 3)),
        "gamma": gamma,
        "beta": rng.normal(size=16),
        "mean": rng.normal(size=16),
        "var": rng.uniform(0.5, 2, 16),
        "v": rng.normal(size=(8, 16, 3, 3)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "first"),
        helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "var"], ["n"], "norm"),
        helper.make_node("Relu", ["n"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "v"], ["y"], "second"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8, 4, 4])],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays.items()],
    )
    path = tmp_path / "normed.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
    onnx.checker.check_model(str(path))
    return path


def test_a_provider_that_is_not_here_leaves_budgets_that_count(run: Run, cnn: str, calib: str, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out.onnx", ["--provider", "tensorrt", "--data", calib, "--max-samples", 40]
    timed = run("prune", cnn, "-o", out, *elsewhere, "--remove", "20%")
    assert timed.code == 4
    assert "--of params or macs" in timed.err
    assert not out.exists()
    counted = run("prune", cnn, "-o", out, *elsewhere, "--remove", "20%", "--of", "params", "--json")
    assert counted.code == 0
    assert counted.json["latency"] is None
    assert any("not timed" in warning and "tensorrt" in warning for warning in counted.json["warnings"])
    before, after = (compute_cost(model_file.load(path)).params for path in (cnn, out))
    assert after <= 0.8 * before


@pytest.mark.parametrize("budget", [["--threshold", "5%"], ["--remove", "20%", "--of", "macs"]])
def test_a_provider_that_is_not_here_needs_no_clock_whatever_is_rounded_to(
    run: Run, cnn: str, calib: str, tmp_path: Path, budget: list[str]
) -> None:
    planned = run("prune", cnn, "--data", calib, "--provider", "tensorrt", *budget, "--round-to", "auto", "--dry-run")
    assert planned.code == 0
    assert "round_to: 1" in planned.out


def test_zeros_alone_with_a_provider_that_is_not_here_are_said_to_be_untimed_and_no_more(
    run: Run, cnn: str, tmp_path: Path
) -> None:
    outcome = run("prune", cnn, "-o", tmp_path / "out.onnx", "--sparsity", "50%", "--provider", "tensorrt", "--json")
    assert outcome.code == 0
    (said,) = [warning for warning in outcome.json["warnings"] if "tensorrt" in warning]
    assert said.endswith(": not timed")
