"""What behaves like another processor here, and what is said where nothing does."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import pytest

from onnxslim.core.errors import UnsupportedError
from onnxslim.runtime.emulation import processor_table
from onnxslim.runtime.emulation.processor_table import PROCESSORS, find_interpreter, get_arm_folder
from onnxslim.runtime.isolation import HERE

MACHINES = {
    "x86_64": {"avx2": "avx2 fma", "vnni": "avx2 avx512f avx512_vnni"},
    "aarch64": {"arm": "fp asimd asimddp i8mm", "armv8": "fp asimd crc32"},
}


@pytest.mark.parametrize(("machine", "name"), [(machine, name) for machine, names in MACHINES.items() for name in names])
def test_a_machine_is_one_processor_of_its_kind(machine: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(processor_table, "read_cpu_info", lambda: {"flags": MACHINES[machine][name]})
    assert [other for other, processor in PROCESSORS.items() if processor.is_here()] == [name]
    assert find_interpreter(PROCESSORS[name]) is HERE


def test_what_is_missing_is_said_with_what_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(processor_table, "read_cpu_info", lambda: {"flags": "sse2"})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UnsupportedError, match="no x86 with VNNI"):
        find_interpreter(PROCESSORS["vnni"])
    with pytest.raises(UnsupportedError, match="qemu-x86_64 is not installed") as caught:
        find_interpreter(PROCESSORS["avx2"])
    assert caught.value.hint == "apt install qemu-user-static"
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(UnsupportedError, match="no Python with onnxruntime"):
        find_interpreter(PROCESSORS["arm"])
    (get_arm_folder() / "site" / "onnxruntime").mkdir(parents=True)
    python = get_arm_folder() / "root" / "usr" / "bin" / "python3.11"
    python.parent.mkdir(parents=True)
    python.touch()
    found = find_interpreter(PROCESSORS["armv8"])
    assert found.command[:3] == ("/usr/bin/qemu-aarch64-static", "-cpu", "cortex-a72")
    assert found.command[-1] == str(python)
    assert found.module_folders is not None
    assert find_interpreter(PROCESSORS["avx2"]).command[2].startswith("Haswell")
