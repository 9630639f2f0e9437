"""What each command does when all is well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxslim.pipeline.result import Result
from onnxslim_cli.command_registry import COMMANDS
from onnxslim_cli.options.common_options import OPTION_SECTIONS
from tests.support.tabular_models import classifier, table

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


QUICK = (
    "simplify",
    "quantize",
    "evaluate",
    "verify",
    "compare",
    "benchmark",
    "profile",
    "inspect",
    pytest.param("doctor", marks=pytest.mark.nightly),  # measures for seconds; CI calls it with the wheel
    "validate",
    "choose",
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


def test_the_command_is_part_of_the_json() -> None:
    assert Result("inspect").as_json()["command"] == "inspect"


@pytest.fixture(params=["dictionaries", "texts", "both"])
def tabular(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A classifier of tables and rows for it."""
    texts = request.param != "dictionaries"
    labels = ["no", "yes", "perhaps"] if texts else [0, 1, 2]
    model, data = tmp_path / "model.onnx", tmp_path / "rows.npz"
    onnx.save(classifier(labels, zipmap=request.param != "texts", texts=texts), model)
    np.savez(data, **table(48, texts=texts))
    return model, data


@pytest.mark.parametrize(
    "name",
    [
        "simplify", "prune", "prune --sparsity 50%", "prune --low-rank", "quantize --placement static",
        "quantize --weights int8",
        "inspect", "inspect --channels", "validate", "benchmark", "profile", "evaluate", "compare", "sensitivity",
    ],
)  # fmt: skip
def test_classifiers_of_tables_go_through_every_command(
    run: Run, tabular: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    model, data = tabular
    command, *options = name.split()
    if command in ("simplify", "prune", "quantize"):
        options += ["-o", str(tmp_path / "out.onnx")]
    if command == "prune" and "--sparsity" not in options:
        options += ["--remove", "20%"]
    if command not in ("simplify", "inspect", "validate") and "--weights" not in options:
        options += ["--data", str(data)]
    outcome = run(command, model, *([model] if command in ("evaluate", "compare") else []), *options)
    assert outcome.code in (0, 4, 5), outcome.err
    assert outcome.code == 0 or command in ("prune", "quantize"), outcome.err
    if outcome.code == 0 and command in ("simplify", "prune", "quantize"):
        result = onnx.load(tmp_path / "out.onnx")
        onnx.checker.check_model(result)
        assert _kinds(result) == _kinds(onnx.load(model))
    if command == "evaluate" and "ZipMap" in str(onnx.load(model).graph.node):
        assert "the tensor behind it" in outcome.out


def _kinds(model: onnx.ModelProto) -> list[tuple[str, object]]:
    """Names and types of the outputs, without the dimensions of tensors."""
    types = [(value.name, value.type) for value in model.graph.output]
    return [(name, kind.tensor_type.elem_type or str(kind)) for name, kind in types]
