"""``onnxslim optimize`` as people call it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

Run = Callable[..., "object"]


def test_optimize_writes_the_model_and_the_report(run: Run, calls: dict[str, list[object]], tmp_path: Path) -> None:
    outcome = run("optimize", *calls["optimize"], "--report", tmp_path / "r.html", "--json")
    assert outcome.code == 0
    document = outcome.json
    out = tmp_path / "o.onnx"
    assert document["output"]["bytes"] == out.stat().st_size < document["input"]["bytes"]
    assert document["output"]["path"] == str(out)
    assert document["metrics"][0]["name"] == "confidence", "40 labels tell less than the original's own confidence"
    assert "top1" in [metric["name"] for metric in document["metrics"]]
    (kind,) = document["judged"]["kinds"]
    assert kind["kind"] == "class scores"
    assert document["data"]["confirm"]["n"] == 40
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert run("validate", out).code == 0


def test_a_run_can_be_replayed_from_its_output_to_the_same_bytes(
    run: Run, cnn: str, calls: dict[str, list[object]], calib: str, evals: str, tmp_path: Path
) -> None:
    assert run("optimize", *calls["optimize"]).code == 0
    first, again = tmp_path / "o.onnx", tmp_path / "again.onnx"
    arguments = ["optimize", cnn, "-o", again, "--data", calib, "--eval-data", evals, "--max-samples", 40]
    assert run(*arguments, "--recipe", first).code == 0
    assert again.read_bytes() == first.read_bytes()


def test_a_dry_run_of_the_search_prints_what_it_looks_for(run: Run, cnn: str, calib: str) -> None:
    outcome = run("optimize", cnn, "--data", calib, "--dry-run", "--min-speedup", 2)
    assert yaml.safe_load(outcome.out) == {
        "search": "balanced",
        "gates": {"max_drop": 0.01, "min_speedup": 2.0},
        "seed": 0,
    }


def test_a_recipes_own_gate_is_not_replaced_by_the_default(run: Run, cnn: str, calib: str, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("steps: [simplify]\ngates: {max_drop: 0.05}\n")
    arguments = ["optimize", cnn, "--data", calib, "--recipe", recipe, "--dry-run"]
    assert yaml.safe_load(run(*arguments).out)["gates"] == {"max_drop": 0.05}
    assert yaml.safe_load(run(*arguments, "--max-drop", "2%").out)["gates"] == {"max_drop": 0.02}


def test_what_the_command_line_says_comes_before_the_recipe_even_where_it_is_the_default(
    run: Run, cnn: str, calib: str, tmp_path: Path
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("steps: [simplify]\nseed: 5\nprovider: cudda\n")
    arguments = ["optimize", cnn, "--data", calib, "--recipe", recipe]
    assert yaml.safe_load(run(*arguments, "--dry-run").out)["seed"] == 5
    assert yaml.safe_load(run(*arguments, "--dry-run", "--seed", "0").out)["seed"] == 0
    assert run(*arguments, "-o", tmp_path / "o.onnx").code == 2
    assert run(*arguments, "-o", tmp_path / "o.onnx", "--provider", "cpu").code == 0
