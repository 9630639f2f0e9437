"""What each command does when all is well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from onnxslim.pipeline.result import Result
from onnxslim_cli.command_registry import COMMANDS
from onnxslim_cli.options.common_options import OPTION_SECTIONS

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


def test_the_command_is_part_of_the_json() -> None:
    assert Result("inspect").as_json()["command"] == "inspect"
