"""The action and the hook do what the page on pipelines says: their own lines are run with this checkout's command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.paths import ROOT

SAMPLES = ROOT / "sample_models"
CNN, EVAL = str(SAMPLES / "digits_cnn.onnx"), str(SAMPLES / "digits_eval.npz")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A path with an ``onnxslim`` on it, and the files that a runner names."""
    script = tmp_path / "bin" / "onnxslim"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m onnxslim_cli "$@"\n')
    script.chmod(0o755)
    names = {name: str(tmp_path / name.lower()) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    return {**os.environ, "PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}", "RUNNER_TEMP": str(tmp_path), **names}


def run_action(environment: dict[str, str], **inputs: str) -> int:
    """The exit code of the action's last step with these inputs."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    step = action["runs"]["steps"][-1]
    values = {name: inputs.get(name, spec.get("default", "")) for name, spec in action["inputs"].items()}
    given = {name: values[text.split("inputs.")[1].split(" ")[0]] for name, text in step["env"].items()}
    return subprocess.run(["bash", "-c", step["run"]], env={**environment, **given}, capture_output=True).returncode


def test_the_action_verifies_by_an_original_and_its_summary_is_written(environment: dict[str, str], tmp_path: Path) -> None:
    assert run_action(environment, model=CNN, against=CNN, data=EVAL) == 0
    document = json.loads((tmp_path / "onnxslim.json").read_text())
    assert document["receipt"]["verdict"] == "pass"
    assert "pass" in (tmp_path / "github_step_summary").read_text()
    told = dict(line.split("=", 1) for line in (tmp_path / "github_output").read_text().splitlines())
    assert set(told) == {"report", "junit", "sarif"}
    assert all(Path(path).is_file() for path in told.values())


def test_the_action_fails_with_the_commands_exit_code(environment: dict[str, str]) -> None:
    assert run_action(environment, model=CNN, against=CNN, data=EVAL, arguments="--min-speedup 100") == 5


def test_arguments_may_take_several_lines(environment: dict[str, str]) -> None:
    assert run_action(environment, model=CNN, against=CNN, data=EVAL, arguments="--max-drop 2%\n--for-ort none\n") == 2


def test_the_hook_looks_at_every_file(environment: dict[str, str], tmp_path: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert re.search(hook["files"], "models/slim.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no model")

    def call(*files: str) -> subprocess.CompletedProcess[str]:
        command = f"{hook['entry']} {' '.join(files)}"
        return subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)

    assert call(CNN).returncode == 0
    outcome = call(str(tmp_path / "broken.onnx"), CNN)
    assert outcome.returncode == 3
    assert "valid ONNX" in outcome.stdout


def test_the_workflow_of_the_page_names_inputs_that_the_action_has() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    page = (ROOT / "docs" / "how-to" / "pipelines.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.S)]
    workflow = next(block for block in blocks if isinstance(block, dict) and "jobs" in block)
    steps = workflow["jobs"]["verify"]["steps"]
    assert set(steps[-1]["with"]) <= set(action["inputs"])
    assert {name for name, spec in action["inputs"].items() if spec.get("required")} <= set(steps[-1]["with"])
