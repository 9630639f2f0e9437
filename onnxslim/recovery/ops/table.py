"""Which function runs which operator: the tables of all modules here as one, by ONNX name."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from onnxslim.recovery import ops
from onnxslim.recovery.ops.call import OpFunction
from onnxslim.recovery.ops.indexing import array_feature_extractor

_FAMILIES = (
    import_module(f"{ops.__name__}.{name}") for _, name, _ in iter_modules(ops.__path__) if name not in ("call", "table")
)
_STANDARD_OPS: dict[str, OpFunction] = {name: op for family in _FAMILIES for name, op in family.OPS.items()}
_MICROSOFT_OPS = ("DequantizeLinear", "Gelu", "QuantizeLinear")

#: (domain, operator) → its function. onnxruntime's own domain has Q/DQ under the same meaning, for any opset.
OP_FUNCTIONS: dict[tuple[str, str], OpFunction] = {
    **{("", name): op for name, op in _STANDARD_OPS.items()},
    **{("com.microsoft", name): _STANDARD_OPS[name] for name in _MICROSOFT_OPS},
    ("ai.onnx.ml", "ArrayFeatureExtractor"): array_feature_extractor,
}
