"""Commands that are one step: dry runs print what they would do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Run = Callable[..., "object"]


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


def test_a_dry_run_without_a_recipe_prints_the_call(run: Run, cnn: str) -> None:
    outcome = run("benchmark", cnn, "--dim", "batch=4", "--dry-run")
    assert yaml.safe_load(outcome.out) == {
        "benchmark": {
            "models": [cnn],
            "thread_counts": [1],
            "batch_sizes": [1],
            "provider": "cpu",
            "concurrency": 1,
            "dim": [["batch", 4]],
        }
    }


@pytest.mark.parametrize("name", ["benchmark", "simplify"])
def test_a_dry_run_is_json_too(run: Run, cnn: str, name: str) -> None:
    document = run(name, cnn, "--dry-run", "--json").json
    assert document["exit_code"] == 0
    assert yaml.safe_load(document["recipe"])
