"""Processors other than the one at hand: which kernels the runtime takes on each, and what can behave like it here.

QEMU's user mode runs one process as another processor would: the runtime asks it for its features and takes the kernels
that it would take there. That tells what they answer, never how fast: nothing is timed under emulation.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnxslim.core.cache_folder import get_cache_folder
from onnxslim.core.cpu_info import read_cpu_info
from onnxslim.core.errors import UnsupportedError
from onnxslim.runtime.isolation import HERE, Interpreter

_X86, _ARM = ("x86_64", "AMD64"), ("aarch64", "arm64", "ARM64")
_VNNI = ("avx512_vnni", "avx_vnni")

#: Without what QEMU has not either, and would warn of in every thread.
_HASWELL = "Haswell-noTSX,-pcid,-x2apic,-tsc-deadline,-invpcid"
#: All that QEMU (7.1 and newer) has but SME: hardly a server has that, the runtime takes kernels of their own for it, and
#: what QEMU 7.2 makes of those (DynamicQuantizeMatMul) is noise.
_ARM_MAX = "max,sme=off"


@dataclass(frozen=True)
class Processor:
    """A kind of processor, as far as the runtime's integer kernels are concerned.

    Attributes:
        description: In words.
        machines: As ``platform.machine()`` names it.
        has: Flags of the system, one of which it has.
        lacks: Flags that it does not have.
        emulator: QEMU's program for it.
        model: Its ``-cpu``; None where it emulates none that has these instructions.
    """

    description: str
    machines: tuple[str, ...]
    has: tuple[str, ...]
    lacks: tuple[str, ...]
    emulator: str
    model: str | None

    def is_here(self) -> bool:
        """Whether this machine is one."""
        info = read_cpu_info()
        flags = set((info.get("flags") or info.get("Features") or "").split())
        if platform.machine() not in self.machines:
            return False
        if platform.system() == "Darwin" and self.machines == _ARM:  # it tells no flags; all of them have these
            return bool(self.has) and not self.lacks
        return bool(flags.intersection(self.has)) and not flags.intersection(self.lacks)


#: By the name on the command line.
PROCESSORS: Mapping[str, Processor] = {
    "avx2": Processor("x86 without VNNI", _X86, ("avx2",), _VNNI, "qemu-x86_64", _HASWELL),
    "vnni": Processor("x86 with VNNI", _X86, _VNNI, (), "qemu-x86_64", None),
    "arm": Processor("64-bit Arm with the dot product", _ARM, ("asimddp",), (), "qemu-aarch64", _ARM_MAX),
    "armv8": Processor("64-bit Arm without the dot product", _ARM, ("asimd",), ("asimddp",), "qemu-aarch64", "cortex-a72"),
}


def get_arm_folder() -> Path:
    """Where ``benchmarks/conformance_arm.sh`` unpacks Python (``root``) and the runtime (``site``) for Arm."""
    return get_cache_folder() / "arm64"


def find_interpreter(processor: Processor) -> Interpreter:
    """A Python with the runtime that runs as on ``processor``: this one, or under emulation.

    Raises:
        UnsupportedError: Nothing here can behave so; the message says what is missing.
    """
    if processor.is_here():
        return HERE
    if processor.model is None:
        raise UnsupportedError(f"QEMU has no {processor.description}", hint="run it on such a machine")
    emulator = shutil.which(f"{processor.emulator}-static") or shutil.which(processor.emulator)
    if emulator is None:
        raise UnsupportedError(f"{processor.emulator} is not installed", hint="apt install qemu-user-static")
    if platform.machine() in processor.machines:
        return Interpreter((emulator, "-cpu", processor.model, sys.executable), HERE.module_folders)
    folder = get_arm_folder()
    pythons = sorted(folder.glob("root/usr/bin/python3.*[0-9]"))
    if processor.machines != _ARM or not pythons or not (folder / "site" / "onnxruntime").is_dir():
        raise UnsupportedError(
            f"no Python with onnxruntime for {processor.description} in {folder}",
            hint="benchmarks/conformance_arm.sh of the repository unpacks one there",
        )
    library = folder / "root" / "usr" / "lib" / pythons[0].name
    modules = (str(library), str(library / "lib-dynload"), str(folder / "site"))
    return Interpreter((emulator, "-cpu", processor.model, "-L", str(folder / "root"), str(pythons[0])), modules)
