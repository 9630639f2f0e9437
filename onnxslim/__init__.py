"""onnxslim: the smallest, fastest ONNX file that is still right, with the evidence.

    import onnxslim

    result = onnxslim.optimize("model.onnx", data="calib.npz", max_drop=0.01)
    result.save("slim.onnx")

Importing this package costs nothing; a function is imported when it is first used (PEP 562). Packages are nouns and
functions verbs: ``onnxslim.quantize`` is the function, ``onnxslim.quantization`` the package it lives in.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from onnxslim.core.version import __version__

if TYPE_CHECKING:
    from onnxslim.compat.drop_in import slim as slim
    from onnxslim.model_io.model_file import load as load
    from onnxslim.model_io.model_file import save as save
    from onnxslim.pipeline.result import Result as Result
    from onnxslim.pruning.step import prune as prune
    from onnxslim.quantization.step import quantize as quantize
    from onnxslim.recovery.step import recover as recover
    from onnxslim.search.optimization import optimize as optimize
    from onnxslim.simplification.step import simplify as simplify
    from onnxslim.tools.benchmarking import benchmark as benchmark
    from onnxslim.tools.inspection import inspect as inspect
    from onnxslim.tools.profiling import profile as profile
    from onnxslim.tools.recording import record as record
    from onnxslim.tools.sensitivity_analysis import sensitivity as sensitivity
    from onnxslim.validation.comparison import compare as compare
    from onnxslim.validation.evaluation import evaluate as evaluate
    from onnxslim.verification.verification import verify as verify

#: Public name → the module it lives in.
_HOMES = {
    "Result": "onnxslim.pipeline.result",
    "benchmark": "onnxslim.tools.benchmarking",
    "compare": "onnxslim.validation.comparison",
    "evaluate": "onnxslim.validation.evaluation",
    "inspect": "onnxslim.tools.inspection",
    "load": "onnxslim.model_io.model_file",
    "optimize": "onnxslim.search.optimization",
    "profile": "onnxslim.tools.profiling",
    "prune": "onnxslim.pruning.step",
    "quantize": "onnxslim.quantization.step",
    "record": "onnxslim.tools.recording",
    "recover": "onnxslim.recovery.step",
    "save": "onnxslim.model_io.model_file",
    "sensitivity": "onnxslim.tools.sensitivity_analysis",
    "simplify": "onnxslim.simplification.step",
    "slim": "onnxslim.compat.drop_in",
    "verify": "onnxslim.verification.verification",
}

__all__ = ("__version__", *_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


# Without this Python itself prints the warnings of a library whose user set up no logging.
logging.getLogger(__name__).addHandler(logging.NullHandler())
