"""What each command does when all is well."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from onnxslim.pipeline.result import Result
from onnxslim_cli.command_registry import COMMANDS
from onnxslim_cli.options.common_options import OPTION_SECTIONS, CommonOptions

Run = Callable[..., "object"]

#: The keys of the JSON contract; more may be added, none may go.
CONTRACT = (
    "schema", "tool", "version", "command", "status", "exit_code", "input", "output", "steps", "metrics", "outputs",
    "latency", "data", "energy", "recipe", "warnings", "error",
)  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_help_lists_the_commands_own_options_before_everybodys(run: Run, name: str) -> None:
    outcome = run(name, "--help")
    assert outcome.code == 0
    headings = [line for line in outcome.out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options:", *(f"{title}:" for title in OPTION_SECTIONS)]


def test_a_common_option_is_a_field() -> None:
    options = {option.name for options in OPTION_SECTIONS.values() for option in options}
    assert options == set(CommonOptions.__dataclass_fields__) - {"progress"}


def test_help_lists_every_command_in_the_order_of_the_work(run: Run) -> None:
    out = run("--help").out
    places = [out.index(f"\n  {name} ") for name in COMMANDS]
    assert places == sorted(places)


@pytest.mark.parametrize("flag", ["--version", "-V", "-v"])
def test_version(run: Run, flag: str) -> None:
    from onnxslim import __version__

    assert run(flag).out == f"{__version__}\n"


def test_no_arguments_show_the_help_and_are_an_error(run: Run) -> None:
    outcome = run()
    assert outcome.code == 2
    assert "Commands:" in outcome.err


@pytest.fixture
def calls(cnn: str, wide: str, calib: str, evals: str, tmp_path: Path) -> dict[str, list[object]]:
    """A sensible call of each command that is quick."""
    fit = ["--data", calib, "--eval-data", evals, "--max-samples", 40]
    return {
        "optimize": [cnn, "-o", tmp_path / "o.onnx", *fit, "--recipe", "int8", "--placement", "static"],
        "simplify": [wide, "-o", tmp_path / "s.onnx", "--data", evals],
        "prune": [cnn, "-o", tmp_path / "p.onnx", *fit, "--remove", "10%", "--criterion", "l2"],
        "quantize": [cnn, "-o", tmp_path / "q.onnx", *fit, "--placement", "static"],
        "evaluate": [cnn, wide, "--data", evals],
        "compare": [cnn, cnn, "--data", "random"],
        "benchmark": [cnn, "--data", evals, "--concurrency", 2],
        "profile": [cnn, wide],
        "inspect": [cnn, wide, "--channels"],
        "sensitivity": [cnn, "--data", calib, "--max-samples", 32],
        "doctor": [],
        "validate": [cnn],
    }


QUICK = (
    "simplify",
    "quantize",
    "evaluate",
    "compare",
    "benchmark",
    "profile",
    "inspect",
    "doctor",
    "validate",
)


@pytest.mark.parametrize("name", QUICK)
def test_json_holds_the_contract_and_the_table_is_for_people(
    run: Run, calls: dict[str, list[object]], name: str, tmp_path: Path
) -> None:
    document = run(name, *calls[name], "--json").json
    assert set(CONTRACT) <= set(document)
    assert (document["command"], document["status"], document["exit_code"]) == (name, "done", 0)
    assert document["error"] is None
    for path in tmp_path.iterdir():
        path.unlink()
    people = run(name, *calls[name])
    assert people.code == 0
    assert people.out
    assert "{" not in people.out


@pytest.mark.parametrize("name", ["simplify", "inspect", "validate"])
def test_quiet_prints_nothing(run: Run, calls: dict[str, list[object]], name: str) -> None:
    outcome = run(name, *calls[name], "-q")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_optimize_writes_the_model_and_the_report(run: Run, calls: dict[str, list[object]], tmp_path: Path) -> None:
    outcome = run("optimize", *calls["optimize"], "--report", tmp_path / "r.html", "--json")
    assert outcome.code == 0
    document = outcome.json
    out = tmp_path / "o.onnx"
    assert document["output"]["bytes"] == out.stat().st_size < document["input"]["bytes"]
    assert document["output"]["path"] == str(out)
    assert document["metrics"][0]["name"] == "top1"
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


def test_recovery_is_judged_against_the_teacher(
    run: Run, calls: dict[str, list[object]], cnn: str, calib: str, evals: str, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    assert run("quantize", *calls["quantize"]).code == 0
    student, out = tmp_path / "q.onnx", tmp_path / "r.onnx"
    fit = ["--data", calib, "--eval-data", evals, "--steps", 5]
    document = run("recover", student, "--teacher", cnn, "-o", out, *fit, "--json").json
    assert document["exit_code"] == 0
    assert document["input"]["path"] == cnn
    assert document["input"]["bytes"] > document["output"]["bytes"]
    # The student is int8 already; judged against itself it would have lost nothing.
    assert 20 < document["outputs"]["logits"]["sqnr_db"] < 80


def test_simplify_leaves_fewer_nodes_and_the_same_function(
    run: Run, calls: dict[str, list[object]], wide: str, tmp_path: Path
) -> None:
    document = run("simplify", *calls["simplify"], "--json").json
    out = tmp_path / "s.onnx"
    assert len(onnx.load(out).graph.node) < len(onnx.load(wide).graph.node)
    assert document["metrics"][0]["drop"] == 0
    compared = run("compare", wide, out, "--data", "random", "--json").json["comparison"]
    assert compared["equal"]


def test_compare_finds_the_first_layer_that_went_wrong(run: Run, wide: str, tmp_path: Path) -> None:
    model = onnx.load(wide)
    weight = next(w for w in model.graph.initializer if len(w.dims) == 4 and w.dims[0] > 8)
    weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))
    broken = tmp_path / "broken.onnx"
    onnx.save(model, broken)
    found = run("compare", wide, broken, "--data", "random", "--layers", "--json").json["comparison"]
    assert not found["equal"]
    bad = [layer for layer in found["layers"] if layer["first_bad"]]
    assert len(bad) == 1
    before = found["layers"][: found["layers"].index(bad[0])]
    assert bad[0]["sqnr_db"] < 10
    assert all(layer["sqnr_db"] is None or layer["sqnr_db"] > 60 for layer in before)
    reader = next(node for node in model.graph.node if node.op_type == "Conv" and weight.name in node.input)
    assert bad[0]["name"] in reader.output


def test_inspect_counts_as_onnx_does(run: Run, wide: str) -> None:
    model = onnx.load(wide)
    found = run("inspect", wide, "--json").json["models"][0]
    ops = [node.op_type for node in model.graph.node]
    assert found["ops"] == {op: ops.count(op) for op in sorted(set(ops))}
    assert found["nodes"] == len(ops)
    floats = (w for w in model.graph.initializer if w.data_type == onnx.TensorProto.FLOAT)
    assert found["facts"]["params"] >= sum(int(np.prod(w.dims)) for w in floats)
    assert found["facts"]["bytes"] == Path(wide).stat().st_size
    assert found["inputs"] == [{"name": "image", "dtype": "float", "shape": ["batch", 1, 8, 8]}]


def test_benchmark_compares_with_the_first_model(run: Run, cnn: str, evals: str) -> None:
    document = run("benchmark", cnn, cnn, "--data", evals, "--json", "--threads", 1).json
    first, second = document["models"]
    assert first["name"] != second["name"]
    assert first["ratio"] == 1.0
    assert 0.2 < second["ratio"] < 5  # the same file; wide, because the machine may be busy
    assert second["interval"][0] <= second["ratio"] <= second["interval"][1]
    assert document["timing"]["batch"] == 1
    assert first["throughput"]["per_second"] > 0


def test_benchmark_without_data_says_that_they_were_random(run: Run, cnn: str) -> None:
    document = run("benchmark", cnn, "--json").json
    assert document["timing"]["data"].startswith("random")
    assert any("random" in line for line in document["warnings"])


def test_profile_shares_add_up(run: Run, cnn: str) -> None:
    (model,) = run("profile", cnn, "--json").json["models"]
    assert sum(node["share"] for node in model["nodes"]) == pytest.approx(1)
    assert sum(op["count"] for op in model["ops"]) == len(model["nodes"])
    times = [node["ms"] for node in model["nodes"]]
    assert times == sorted(times, reverse=True)


def test_the_judged_output_can_be_named(run: Run, samples: Path, evals: str) -> None:
    mlp = samples / "digits_mlp.onnx"
    default = run("evaluate", mlp, "--data", evals, "--json").json
    assert default["judged"]["output"] == "probabilities"
    named = run("evaluate", mlp, "--data", evals, "--output", "label", "--json").json
    assert named["judged"]["output"] == "label"
    assert named["metrics"][0]["result"] == pytest.approx(default["metrics"][0]["result"], abs=0.01)


def test_a_metric_may_be_a_function_of_the_users(
    run: Run, cnn: str, evals: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_9f3.py").write_text("def hits(outputs, labels):\n    return outputs.argmax(1) == labels\n")
    monkeypatch.chdir(tmp_path)
    document = run("evaluate", cnn, "--data", evals, "--metric", "mine_9f3:hits", "--allow-code", "--json").json
    metrics = {metric["name"]: metric["result"] for metric in document["metrics"]}
    assert metrics["hits"] == metrics["top1"] > 0.9


def test_a_dry_run_prints_a_recipe_that_replays(run: Run, cnn: str, calib: str, tmp_path: Path) -> None:
    outcome = run(
        "quantize",
        cnn,
        "--data",
        calib,
        "--target",
        "cpu-no-vnni",
        "--max-drop",
        "2%",
        "--seed",
        3,
        "--dry-run",
    )
    assert outcome.code == 0
    recipe = yaml.safe_load(outcome.out)
    assert recipe == {
        "steps": [{"simplify": {}}, {"quantize": {"target": "cpu-no-vnni"}}],
        "gates": {"max_drop": 0.02},
        "seed": 3,
    }
    assert not list(tmp_path.iterdir())


def test_a_dry_run_of_the_search_prints_what_it_looks_for(run: Run, cnn: str, calib: str) -> None:
    outcome = run("optimize", cnn, "--data", calib, "--dry-run", "--min-speedup", 2)
    assert yaml.safe_load(outcome.out) == {
        "search": "balanced",
        "gates": {"max_drop": 0.01, "min_speedup": 2.0},
        "seed": 0,
    }


def test_a_dry_run_without_a_recipe_prints_the_call(run: Run, cnn: str) -> None:
    outcome = run("benchmark", cnn, "--dim", "batch=4", "--dry-run")
    assert yaml.safe_load(outcome.out) == {
        "benchmark": {
            "models": [cnn],
            "provider": "cpu",
            "threads": 1,
            "concurrency": 1,
            "dim": [["batch", 4]],
        }
    }


@pytest.mark.parametrize("name", ["benchmark", "simplify"])
def test_a_dry_run_is_json_too(run: Run, cnn: str, name: str) -> None:
    document = run(name, cnn, "--dry-run", "--json").json
    assert document["exit_code"] == 0
    assert yaml.safe_load(document["recipe"])


def test_a_recipes_own_gate_is_not_replaced_by_the_default(run: Run, cnn: str, calib: str, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("steps: [simplify]\ngates: {max_drop: 0.05}\n")
    arguments = ["optimize", cnn, "--data", calib, "--recipe", recipe, "--dry-run"]
    assert yaml.safe_load(run(*arguments).out)["gates"] == {"max_drop": 0.05}
    assert yaml.safe_load(run(*arguments, "--max-drop", "2%").out)["gates"] == {"max_drop": 0.02}


def test_commands_without_a_model_write_their_json(run: Run, cnn: str, tmp_path: Path) -> None:
    out = tmp_path / "inspect.json"
    assert run("inspect", cnn, "-o", out, "-q").code == 0
    written, printed = json.loads(out.read_text()), run("inspect", cnn, "--json").json
    assert written["metadata"].pop("repeat with") != printed["metadata"].pop("repeat with")
    assert written == printed


@pytest.mark.parametrize("ending", ["html", "md"])
def test_a_report_of_a_command_without_a_model_is_its_table(run: Run, cnn: str, tmp_path: Path, ending: str) -> None:
    report = tmp_path / f"r.{ending}"
    assert run("inspect", cnn, "--report", report, "-q").code == 0
    assert "ReduceMean" in report.read_text()
    assert "digits_cnn.onnx" in report.read_text()


def test_explain_says_how_figures_were_measured(run: Run, wide: str, tmp_path: Path) -> None:
    plain = run("simplify", wide, "-o", tmp_path / "a.onnx").out
    explained = run("simplify", wide, "-o", tmp_path / "b.onnx", "--explain").out
    assert "bytes on disk" in explained
    assert "bytes on disk" not in plain


def test_names_from_a_model_cannot_steer_the_terminal(run: Run, wide: str, tmp_path: Path) -> None:
    model = onnx.load(wide)
    model.producer_name = "\x1b[31mred\x1b]0;title\x07"
    path = tmp_path / "evil.onnx"
    onnx.save(model, path)
    assert "\x1b" not in run("inspect", path).out


def test_the_command_is_part_of_the_json() -> None:
    assert Result("inspect").as_json()["command"] == "inspect"


def test_compare_saves_the_inputs_whose_answer_changed(
    run: Callable[..., Any], cnn: str, wide: str, evals: str, tmp_path: Path
) -> None:
    out = tmp_path / "changed.npz"
    found = run("compare", cnn, wide, "--data", evals, "--save-changed", out, "--json")
    changed = found.json["comparison"]["changed"]["samples"]
    assert found.code == 0
    assert changed
    again = run("compare", cnn, wide, "--data", out, "--json").json["comparison"]["changed"]["samples"]
    assert again == list(range(len(changed)))
    assert run("compare", cnn, wide, "--data", evals, "--save-changed", out).code == 2
    assert run("compare", cnn, wide, "--save-changed", tmp_path / "other.npz").code == 2


def test_profile_puts_the_layers_of_two_models_side_by_side(
    run: Callable[..., Any], cnn: str, calib: str, tmp_path: Path
) -> None:
    int8 = tmp_path / "int8.onnx"
    assert run("quantize", cnn, "-o", int8, "--data", calib, "--placement", "static", "--max-samples", 8).code == 0
    found = run("profile", cnn, int8, "--data", calib, "--json").json
    by_name = {layer["name"]: layer["ms"] for layer in found["layers"]}
    convolutions = [node.name for node in onnx.load(cnn).graph.node if node.op_type == "Conv"]
    assert all(None not in by_name[name] for name in convolutions)
    for index, model in enumerate(found["models"]):
        assert sum(ms[index] or 0 for ms in by_name.values()) == pytest.approx(model["total_ms"])
    assert "times faster" in run("profile", cnn, int8, "--data", calib).out


def test_a_result_named_without_its_option_is_told_where_it_goes(run: Run, cnn: str, tmp_path: Path) -> None:
    outcome = run("prune", cnn, tmp_path / "out.onnx")
    assert outcome.code == 2
    assert f"-o {tmp_path / 'out.onnx'}" in outcome.err
