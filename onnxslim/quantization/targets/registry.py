"""The targets, one line each; docs/how-to/add-a-target.md says what a new one takes."""

from __future__ import annotations

from onnxslim.core.errors import UsageError
from onnxslim.quantization.targets.arm import CPU_ARM
from onnxslim.quantization.targets.base import Target
from onnxslim.quantization.targets.cuda import CUDA
from onnxslim.quantization.targets.onnxruntime_cpu import CPU, CPU_NO_VNNI
from onnxslim.quantization.targets.portable import PORTABLE
from onnxslim.quantization.targets.tensorrt import TENSORRT
from onnxslim.quantization.targets.web import WEB

#: By the name on the command line.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        CPU,
        CPU_NO_VNNI,
        CPU_ARM,
        PORTABLE,
        CUDA,
        TENSORRT,
        WEB,
    )
}


def get_target(name: str) -> Target:
    """The target called ``name``.

    Raises:
        UsageError: There is none.
    """
    if name not in TARGETS:
        raise UsageError(f"--target {name}: unknown", hint=f"one of {', '.join(TARGETS)}")
    return TARGETS[name]
