"""What the system says of its processor."""

from __future__ import annotations

import pytest

from onnxslim.core import cpu_info
from onnxslim.core.cpu_info import describe_cpu, read_cpu_info


def test_the_description_is_what_the_kernel_says_and_is_the_same_twice() -> None:
    info, described = read_cpu_info(), describe_cpu()
    assert described == describe_cpu()
    assert set(described) == {"cpu", "flags"}
    assert described["cpu"]
    assert described["flags"] in (info.get("flags"), info.get("Features"), "")


def test_cores_without_a_name_are_told_apart_by_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    for part in ("0xd0b", "0xd0c"):
        info = {"processor": "0", "Features": "fp asimd asimddp", "CPU implementer": "0x41", "CPU part": part}
        monkeypatch.setattr(cpu_info, "read_cpu_info", lambda info=info: info)
        names.add(describe_cpu()["cpu"])
    assert names == {"CPU implementer 0x41 CPU part 0xd0b", "CPU implementer 0x41 CPU part 0xd0c"}
