"""What callers see of two models, compared: names, element types, shapes of inputs and outputs, and what loading takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import onnx_ir as ir

from onnxslim.core.errors import UnsupportedError
from onnxslim.graph import shapes
from onnxslim.graph.runtime_versions import check_loads_in, oldest_runtime
from onnxslim.model_io import map_types
from onnxslim.verification.check import Check

#: Domains of operators that every build of the runtime has.
_BUILT_IN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"})


def check_interface(original: ir.Model, candidate: ir.Model) -> Check:
    """Whether whoever calls ``original`` can call ``candidate``: the same names and types, and shapes no narrower."""
    graphs = original.graph, candidate.graph
    lines = [*_compare_values("input", *graphs), *_compare_values("output", *graphs)]
    optional = candidate.graph.initializers
    known = {value.name for value in original.graph.inputs}
    lines += [f"input {value.name} is new" for value in candidate.graph.inputs if value.name not in known | set(optional)]
    order = [str(value.name) for value in original.graph.outputs]
    if not lines and (first := [str(value.name) for value in candidate.graph.outputs][: len(order)]) != order:
        lines.append(f"outputs are in another order: {', '.join(first)}, expected {', '.join(order)}")
    names = ", ".join([str(value.name) for value in original.graph.inputs] + order)
    return Check("interface", "fail" if lines else "pass", "; ".join(lines) or f"the same inputs and outputs ({names})")


def _compare_values(kind: Literal["input", "output"], before: ir.Graph, after: ir.Graph) -> Iterator[str]:
    by_name = {value.name: value for value in getattr(after, f"{kind}s")}
    for value in getattr(before, f"{kind}s"):
        other = by_name.get(value.name)
        if other is None:
            yield f"{kind} {value.name} is missing"
            continue
        expected, found = _get_type(before, value), _get_type(after, other)
        if expected is not None and found is not None and expected != found:
            yield f"{kind} {value.name} is {found}, expected {expected}"
            continue
        old, new = shapes.get_dims(value), shapes.get_dims(other)
        fixed = kind == "input" and old is not None and new is not None and any(
            isinstance(n, int) and not isinstance(o, int) for o, n in zip(old, new, strict=False)
        )  # fmt: skip
        if fixed or not shapes.can_agree(old, new):
            yield f"{kind} {value.name} has shape {_format_dims(new)}, expected {_format_dims(old)}"


def _get_type(graph: ir.Graph, value: ir.Value) -> str | None:
    """What is known of the type of ``value``, in words; maps have no class in the library."""
    return map_types.describe(graph, str(value.name)) or (None if value.type is None else str(value.type))


def _format_dims(dims: shapes.Dims | None) -> str:
    return "unknown" if dims is None else "(" + ", ".join("?" if dim is None else str(dim) for dim in dims) + ")"


def check_opset(original: ir.Model, candidate: ir.Model) -> Check:
    """Whether the same libraries load both: operators of another domain need one of their own."""
    new = sorted(set(_list_domains(candidate)) - set(_list_domains(original)) - _BUILT_IN_DOMAINS)
    versions = [model.opset_imports.get("", 0) for model in (original, candidate)]
    told = f"opset {versions[0]}" if versions[0] == versions[1] else f"opset {versions[1]}, of the original {versions[0]}"
    if new:
        return Check("opset", "fail", f"{told}; operators of {', '.join(new)} need a library that the original does without")
    return Check("opset", "pass", told)


def _list_domains(model: ir.Model) -> Iterator[str]:
    functions = {domain for domain, _, _ in model.functions}
    for node in model.graph.all_nodes():
        if node.domain not in functions:
            yield node.domain


def check_oldest_runtime(original: ir.Model, candidate: ir.Model, for_ort: str | None) -> Check:
    """The oldest runtime that loads ``candidate``, and whether the release ``for_ort`` is one that does.

    Raises:
        UsageError: ``for_ort`` is no release.
    """
    before, after = oldest_runtime(original), oldest_runtime(candidate)
    told = f"loads from onnxruntime {after} on" + ("" if before == after else f", the original from {before}")
    try:
        if for_ort is not None:
            check_loads_in(candidate, for_ort)
    except UnsupportedError as error:
        return Check("oldest runtime", "fail", f"{error.message}; {told}")
    return Check("oldest runtime", "pass", told + (f"; {for_ort} is asked" if for_ort is not None else ""))
