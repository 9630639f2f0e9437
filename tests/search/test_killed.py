"""A search killed at any moment keeps what it finished."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onnxslim.model_io import model_file
from tests.support.paths import SAMPLES


def trials(study: Path) -> dict[str, tuple[str, str | None]]:
    """Every finished trial: the recipe asked for → its outcome and model."""
    if not (study / "study.sqlite").exists():
        return {}
    with sqlite3.connect(study / "study.sqlite") as database:
        try:
            rows = database.execute("SELECT asked, outcome, model FROM trials").fetchall()
        except sqlite3.OperationalError:  # killed before the tables were made
            return {}
    return {asked: (outcome, model) for asked, outcome, model in rows}


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_killed_at_twenty_random_moments_no_finished_trial_is_lost(tmp_path: Path) -> None:
    def command(study: Path) -> list[str]:
        return [
            sys.executable, "-m", "onnxslim_cli", "optimize", str(SAMPLES / "digits_mlp.onnx"), "--force",
            "-o", str(tmp_path / "slim.onnx"), "--data", str(SAMPLES / "digits_calib.npz"), "--eval-data",
            str(SAMPLES / "digits_eval.npz"), "--study", str(study), "--budget", "10m", "--placement", "static",
            # too few to learn from: a training takes what time is left, and no two searches would end alike
            "--max-samples", "60",
        ]  # fmt: skip

    started = time.monotonic()
    subprocess.run(command(tmp_path / "whole"), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    whole = time.monotonic() - started
    study, moment = tmp_path / "study", random.Random(0)
    known: dict[str, tuple[str, str | None]] = {}
    for _ in range(20):
        process = subprocess.Popen(command(study), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(moment.uniform(0.0, whole))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        now = trials(study)
        assert known.items() <= now.items(), "a finished trial was lost or done again"
        for _, model in now.values():
            if model is not None:
                model_file.load(study / model)
        known = now
    assert known, "no run was long enough to finish a trial"
    subprocess.run(command(study), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert known.items() <= trials(study).items()
    assert trials(study).keys() == trials(tmp_path / "whole").keys()
