"""A report with everything in it. Its numbers are made up, in the proportions of a real run on MobileNetV2."""

from __future__ import annotations

from typing import Any

import numpy as np


def sample() -> dict[str, Any]:
    """A new copy each time, the same each time."""
    draw = np.random.default_rng(0)
    drift = 1 + 0.06 * np.sin(np.arange(60) / 5) ** 2
    rounds = {
        "original": (7.62 * drift * (1 + draw.gamma(1, 0.012, 60))).tolist(),
        "result": (3.41 * drift * (1 + draw.gamma(1, 0.012, 60))).tolist(),
    }
    return {
        "schema": 1,
        "tool": "onnxslim",
        "version": "0.1.0",
        "command": "optimize",
        "status": "done",
        "exit_code": 0,
        "input": {
            "path": "models/mobilenet_v2.onnx",
            "sha256": "8d2f" * 16,
            "bytes": 13992206,
            "params": 3487816,
            "macs": 300774272,
        },
        "output": {"path": "slim.onnx", "sha256": "41b7" * 16, "bytes": 3411902, "params": 3212040, "macs": 271200256},
        "steps": [
            {"name": "simplify", "seconds": 0.41, "changed": {"folded": 12, "fused": 52}, "declined": []},
            {
                "name": "prune",
                "seconds": 6.2,
                "changed": {"channels": 148},
                "declined": [
                    {"node": f"features.{i}.conv.1", "reason": "its channels meet a residual sum that keeps them all"}
                    for i in range(3, 12)
                ],
            },
            {
                "name": "quantize",
                "seconds": 9.8,
                "changed": {"int8": 51},
                "declined": [
                    {"node": "features.0.0", "reason": "measured faster in float32 (0.56 ms against 1.29 ms)"},
                    {"node": "features.1.conv.0.0", "reason": "15 channels: a depthwise kernel wants a multiple of 16"},
                ],
            },
        ],
        "metrics": [
            metric("top1", 0.785, 0.7817, [-0.0099, 0.0167], provable=0.0133, p_value=0.63),
            metric("top5", 0.9433, 0.94, [-0.0061, 0.0131], provable=0.0117, p_value=0.55),
            metric("agreement", 1.0, 0.9717, [0.0179, 0.0447]),
        ],
        "outputs": {"output": {"sqnr_db": 22.84, "cosine": 0.99743, "kl": 0.0131, "equal": False}},
        "latency": {
            "provider": "cpu",
            "threads": 1,
            "batch": 1,
            "ratio": float(np.median(np.divide(rounds["original"], rounds["result"]))),
            "interval": [2.221, 2.246],
            "original": percentiles(rounds["original"]),
            "result": percentiles(rounds["result"]),
            "rounds": rounds,
        },
        "data": {
            "fit": "calib.npz, 128 images",
            "tune": "calib.npz, a held-back share of 20%",
            "confirm": "eval.npz, 600 images",
        },
        "energy": {"source": "not measurable here", "relative_estimate": 0.38},
        "recipe": {
            "version": 1,
            "seed": 0,
            "steps": [
                {"simplify": {}},
                {"prune": {"remove": 0.08, "of": "params", "criterion": "obs"}},
                {"quantize": {"target": "cpu", "placement": "measured"}},
            ],
            "constraints": {"max_drop": 0.01},
        },
        "warnings": ["the 600 samples can prove a drop of 1.3 points or more; a smaller one cannot be told from none"],
        "error": None,
        "stages": [
            stage("original", 13992206, 3487816, 300774272, 7.66, 0.785),
            stage("simplify", 13964410, 3487816, 300774272, 7.62, 0.785),
            stage("prune", 12860112, 3212040, 271200256, 7.02, 0.7834),
            stage("quantize", 3411902, 3212040, 271200256, 3.43, 0.7817),
        ],
        "layers": layers(draw),
        "surviving": [
            {"op": "QuantizeLinear", "tensor": "images", "why": "it is an input of the model"},
            {"op": "DequantizeLinear", "tensor": "output", "why": "it is an output of the model"},
        ],
        "oldest_runtime": "1.13.1",
        "metadata": {
            "machine": "x86-64, AVX512-VNNI, 2 cores",
            "onnxruntime": "1.32.0",
            "seed": 0,
            "repeat with": "onnxslim optimize mobilenet_v2.onnx -o slim.onnx --data calib.npz --eval-data eval.npz",
        },
        "candidates": [
            trial("lossless", 13964410, 7.62, 0.0),
            trial("int8", 3620110, 3.9, 0.0021),
            trial("prune 20% + int8", 3411902, 3.43, 0.0064) | {"verdict": "chosen"},
            trial("prune 40% + int8", 2710400, 2.6, 0.031)
            | {"passes": False, "verdict": "loses 3.1 points of top-1; at most 1 allowed"},
            trial("prune 60% + int8", 0, 0, 0)
            | dict.fromkeys(("bytes", "median_ms", "tune_drop"))
            | {"error": "--remove 60% of macs: at most 52% can go", "passes": False, "pareto": False}
            | {"verdict": "not possible: --remove 60% of macs: at most 52% can go"},
        ],
        "chosen": "prune 20% + int8",
        "summary": "prune 20% + int8: 2.2 times faster, 4.1 times smaller; top1 drops by 0.33 %",
        "other_points": [
            {
                "name": "prune 40% + int8",
                "costs": "2.9 times faster, 5.2 times smaller, loses 3.1 points of top-1",
                "options": "--max-drop 3.5%",
            }
        ],
        "stopped": "no time left to try prune 30% + int8",
        "memory": {"original": 61_400_000, "result": 28_900_000},
    }


def metric(name: str, original: float, result: float, interval: list[float], **more: Any) -> dict[str, Any]:
    fixed = {"n": 600, "unit": "%", "better": "higher", "provable": None, "p_value": None}
    return (
        {"name": name, "original": original, "result": result, "drop": original - result, "interval": interval}
        | fixed
        | more
    )


def stage(name: str, size: int, params: int, macs: int, median: float, value: float) -> dict[str, Any]:
    return {"name": name, "bytes": size, "params": params, "macs": macs, "median_ms": median, "metric": value}


def trial(name: str, size: int, median: float, drop: float) -> dict[str, Any]:
    fixed = {"tune_metric": "confidence", "unit": "%", "speedup": 7.66 / median if median else None, "seconds": 60.0}
    return {"name": name, "bytes": size, "median_ms": median, "tune_drop": drop, "passes": True, "missed": [],
            "error": None, "pareto": True, "verdict": "passed"} | fixed  # fmt: skip


def percentiles(rounds: list[float]) -> dict[str, Any]:
    median, p90, p99 = np.percentile(rounds, [50, 90, 99]).tolist()
    return {"median_ms": median, "p90_ms": p90, "p99_ms": p99, "interval_ms": [0.99 * median, 1.01 * median]}


def layers(draw: np.random.Generator) -> list[dict[str, Any]]:
    made = []
    for i in range(53):
        depthwise = i % 3 == 1
        kernel = "float" if i in (0, 1) else "int8"
        sqnr = None if i == 0 else float(38 - 0.28 * i - 5 * depthwise + draw.normal(0, 1.6))
        why = ["measured faster in float32", "15 channels: a depthwise kernel wants 16"][i] if i < 2 else None
        made.append(
            {
                "name": f"/features/features.{i}/conv/Conv_output_0",
                "op": "Conv",
                "sqnr_db": sqnr,
                "kernel": kernel,
                "why": why,
            }
        )
    return made
