"""torch is an extra: importing this room does not import it, and where it is absent one line says what to install."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

from onnxslim.core.errors import UnsupportedError
from onnxslim.recovery import torch_extra
from onnxslim.recovery.step import compute_gradient_importance, recover, round_weights
from tests.support import nets
from tests.support.paths import ROOT


def test_importing_the_room_does_not_import_torch() -> None:
    code = "import sys, onnxslim.recovery.step; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_tested_of_its_absence_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import tests.recovery.test_torch_extra"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_without_torch_every_entry_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., ModuleSpec | None] = importlib.util.find_spec
    monkeypatch.setattr(torch_extra, "find_spec", lambda name: None if name == "torch" else real(name))
    model = nets.mlp()
    samples = nets.samples(model, 16)
    for call in (
        lambda: recover(model, model, samples),
        lambda: compute_gradient_importance(model, samples),
        lambda: round_weights(model, {"w": np.zeros(1)}, samples),
    ):
        with pytest.raises(UnsupportedError) as raised:
            call()
        assert raised.value.hint == 'pip install "onnxslim-toolkit[torch]"'
