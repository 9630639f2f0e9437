"""The document of a verification with one check of each verdict; its numbers are made up."""

from __future__ import annotations

from typing import Any


def verified(inconclusive: str = "fail") -> dict[str, Any]:
    """A new copy each time."""
    checks = [
        {"name": "interface", "verdict": "pass", "message": "the same", "value": None, "interval": None, "limit": None},
        {"name": "drop of top1", "verdict": "fail", "message": "top1 drops by 3 %", "value": 0.03,
         "interval": [0.02, 0.04], "limit": 0.01},
        {"name": "speed", "verdict": "cannot tell", "message": "1.1× as fast", "value": 1.1, "interval": [1.0, 1.2],
         "limit": 1.1},
    ]  # fmt: skip
    facts = {"sha256": "1f" * 32, "bytes": 1000, "params": 200, "macs": 3000}
    return {
        "version": "0.1.0",
        "command": "verify",
        "input": {"path": "model.onnx", **facts},
        "output": {"path": "slim.onnx", **facts},
        "data": {"fit": None, "tune": None, "confirm": {"source": "eval.npz", "n": 500}},
        "metrics": [],
        "verification": {"verdict": "fail", "checks": checks, "samples": None, "inconclusive": inconclusive},
    }
