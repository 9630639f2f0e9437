"""onnxslim: the smallest, fastest ONNX file that is still right, with the evidence.

    import onnxslim

    result = onnxslim.optimize("model.onnx", data="calib.npz", max_drop=0.01)
    result.save("slim.onnx")

Importing this package costs nothing; a function is imported when it is first used. Several of them are called like the
package they live in, and as an attribute of ``onnxslim`` the name is the function. So inside the library packages are
imported from (``from onnxslim.quantize import …``), never reached as attributes.
"""

from __future__ import annotations

import importlib
import logging
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from onnxslim.version import __version__

if TYPE_CHECKING:
    from onnxslim.benchmark import benchmark as benchmark
    from onnxslim.inspect import inspect as inspect
    from onnxslim.io import load as load
    from onnxslim.io import save as save
    from onnxslim.optimize import optimize as optimize
    from onnxslim.profile import profile as profile
    from onnxslim.prune import prune as prune
    from onnxslim.quantize import quantize as quantize
    from onnxslim.record import record as record
    from onnxslim.recover import recover as recover
    from onnxslim.result import Result as Result
    from onnxslim.sensitivity import sensitivity as sensitivity
    from onnxslim.simplify import simplify as simplify
    from onnxslim.slim import slim as slim
    from onnxslim.validate.compare import compare as compare
    from onnxslim.validate.evaluate import evaluate as evaluate

#: Public name → the module it lives in.
_HOMES = {
    "Result": "onnxslim.result",
    "benchmark": "onnxslim.benchmark",
    "compare": "onnxslim.validate.compare",
    "evaluate": "onnxslim.validate.evaluate",
    "inspect": "onnxslim.inspect",
    "load": "onnxslim.io",
    "optimize": "onnxslim.optimize",
    "profile": "onnxslim.profile",
    "prune": "onnxslim.prune",
    "quantize": "onnxslim.quantize",
    "record": "onnxslim.record",
    "recover": "onnxslim.recover",
    "save": "onnxslim.io",
    "sensitivity": "onnxslim.sensitivity",
    "simplify": "onnxslim.simplify",
    "slim": "onnxslim.slim",
}

__all__ = ("__version__", *_HOMES)


class _Surface(ModuleType):
    """A package whose public names are never replaced by the modules of the same name.

    Whenever ``onnxslim.quantize`` is imported, Python sets the attribute ``quantize`` of ``onnxslim`` to that package.
    Here that is left undone where the name is a function's.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOMES[name]), name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_HOMES})


sys.modules[__name__].__class__ = _Surface

# Without this Python itself prints the warnings of a library whose user set up no logging.
logging.getLogger(__name__).addHandler(logging.NullHandler())
