"""Which execution provider a session asks for, and whether it is really there.

onnxruntime falls back to the CPU without an error when a provider cannot start. A figure measured that way would be
about the wrong machine, so here a missing provider is an error before the session and a silent fallback is one after.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from onnxslim.core.errors import UnsupportedError, UsageError

CPU = "CPUExecutionProvider"

#: name on the command line -> (execution provider, what installs it)
PROVIDERS: dict[str, tuple[str, str]] = {
    "cpu": (CPU, "pip install onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "pip install onnxruntime-gpu, beside a CUDA 12 driver and cuDNN 9"),
    "tensorrt": ("TensorrtExecutionProvider", "pip install onnxruntime-gpu tensorrt"),
    "wasm": ("WASM", "npm install onnxruntime-web: it runs in a browser or in Node, never here"),
}


@dataclass(frozen=True)
class Provider:
    """One execution provider as a session wants it: its onnxruntime name and the device it runs on."""

    name: str
    device: int = 0

    @property
    def is_cpu(self) -> bool:
        """Whether this is the CPU provider."""
        return self.name == CPU

    @property
    def label(self) -> str:
        """The command line's spelling, e.g. ``cpu`` or ``cuda:1``."""
        short = next((key for key, (name, _) in PROVIDERS.items() if name == self.name), self.name)
        return f"{short}:{self.device}" if self.device else short


def parse_provider(text: str, available: Sequence[str]) -> Provider:
    """``cpu``, ``cuda`` or ``cuda:1`` → a provider that ``available`` holds.

    Args:
        text: The command line's spelling.
        available: What the installed onnxruntime was built with (``onnxruntime.get_available_providers()``).

    Raises:
        UsageError: An unknown spelling.
        UnsupportedError: A known provider that is not installed here.
    """
    match = re.fullmatch(r"([a-z]+)(?::(\d+))?", text)
    if match is None or match[1] not in PROVIDERS:
        raise UsageError(f"--provider {text}: unknown", hint=f"one of {', '.join(PROVIDERS)}, or cuda:1 for a second device")
    name, install = PROVIDERS[match[1]]
    if name not in available:
        raise UnsupportedError(
            f"--provider {text}: this onnxruntime has no {name} (it has {', '.join(available)})", hint=install
        )
    return Provider(name, int(match[2] or 0))
