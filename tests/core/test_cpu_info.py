"""What the system says of its processor."""

from __future__ import annotations

from onnxslim.core.cpu_info import describe_cpu, read_cpu_info


def test_the_description_is_what_the_kernel_says_and_is_the_same_twice() -> None:
    info, described = read_cpu_info(), describe_cpu()
    assert described == describe_cpu()
    assert set(described) == {"cpu", "flags"}
    assert described["cpu"]
    assert described["flags"] in (info.get("flags"), info.get("Features"), "")
