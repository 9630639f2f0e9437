"""The target of this machine is asked of its kernels."""

from __future__ import annotations

import platform

import pytest

from onnxslim.quantization.targets import detect
from onnxslim.quantization.targets.arm import ARM_MACHINES
from onnxslim.quantization.targets.detect import detect_target, explain_unmeasured, has_saturating_kernels
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.session import SessionConfig


def test_this_machines_kernels_are_asked_for_their_sums() -> None:
    wrong = has_saturating_kernels()
    on_x86 = "cpu-no-vnni" if wrong else "cpu"
    assert detect_target(SessionConfig()).name == ("cpu-arm" if platform.machine() in ARM_MACHINES else on_x86)
    assert detect_target(SessionConfig(provider="cuda:1")).name == "cuda"
    assert detect_target(SessionConfig(provider="tensorrt")).name == "tensorrt"


@pytest.mark.parametrize("machine", ARM_MACHINES)
def test_a_machine_that_a_target_is_about_is_that_target(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert detect_target(SessionConfig()).name == "cpu-arm"
    assert TARGETS["cpu-arm"].runs_on("cpu")
    assert not TARGETS["cpu-arm"].runs_on("cuda")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert not TARGETS["cpu-arm"].runs_on("cpu")
    assert detect_target(SessionConfig()).name == ("cpu-no-vnni" if has_saturating_kernels() else "cpu")


@pytest.mark.parametrize(
    ("provider", "available", "says"),
    [
        ("cpu", ["CPUExecutionProvider"], "expected, not verified here: this onnxruntime has no CUDAExecutionProvider"),
        ("cpu", ["CUDAExecutionProvider", "CPUExecutionProvider"], "was not measured: this ran on cpu"),
        ("cuda", ["CUDAExecutionProvider", "CPUExecutionProvider"], None),
        ("cuda:1", ["CUDAExecutionProvider", "CPUExecutionProvider"], None),
    ],
)
def test_what_is_said_about_speed_depends_on_the_providers_that_are_here(
    provider: str, available: list[str], says: str | None
) -> None:
    line = explain_unmeasured(TARGETS["cuda"], SessionConfig(provider=provider), available)
    assert (line is None) if says is None else (line is not None and says in line)


def test_what_is_said_about_speed_depends_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    available = ["CPUExecutionProvider"]
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    line = explain_unmeasured(TARGETS["cpu-arm"], SessionConfig(), available)
    assert line is not None
    assert line.startswith("the gain on cpu-arm is expected, not verified here: this machine is x86_64 (--on HOST:PORT")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert explain_unmeasured(TARGETS["cpu-arm"], SessionConfig(), available) is None


@pytest.mark.parametrize(("name", "saturates", "is_told"), [
    ("cpu-no-vnni", False, True), ("cpu-no-vnni", True, False), ("portable", False, False), ("portable", True, False),
])  # fmt: skip
def test_what_is_for_processors_without_vnni_is_not_verified_on_one_that_has_it(
    name: str, saturates: bool, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(detect, "has_saturating_kernels", lambda *_: saturates)
    line = explain_unmeasured(TARGETS[name], SessionConfig(), ["CPUExecutionProvider"])
    assert (line is not None) == is_told
    assert line is None or "not verified here: no product saturates on this machine" in line
    assert detect_target(SessionConfig()).name == ("cpu-no-vnni" if saturates else "cpu")
