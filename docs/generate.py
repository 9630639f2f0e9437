"""Write what the documentation repeats of the code: the typed parts of the JSON schema, and the lists between markers.

    python docs/generate.py            rewrites docs/reference/schema.json and the lists of the pages
    python docs/generate.py --check    ends with 1 where one of them is not up to date

A list stands between ``<!-- table: NAME -->`` and ``<!-- end -->`` on any page; NAME is a key of :data:`TABLES`.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from onnxslim.core import errors
from onnxslim.core.errors import OnnxslimError
from onnxslim.core.step_report import StepReport
from onnxslim.pipeline.result import ModelFacts, Stage
from onnxslim.pruning.importance.criteria import CRITERIA
from onnxslim.quantization.calibration.range_methods import RANGE_METHODS
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.validation.metrics.dataset_metric import DatasetMetric
from onnxslim.validation.metrics.dataset_metrics import DATASET_METRICS
from onnxslim.validation.metrics.metric import Metric
from onnxslim.validation.metrics.table import METRICS
from onnxslim.verification.outcome import Verification
from onnxslim.verification.receipt import Receipt
from onnxslim_cli.error_mapping import EndedEarlyError

DOCS = Path(__file__).resolve().parent
SCHEMA = DOCS / "reference" / "schema.json"
_BLOCK = re.compile(r"<!-- table: ([\w-]+) -->\n.*?<!-- end -->", re.DOTALL)
_BASE_TYPES = {str: "string", bool: "boolean", int: "integer"}


def list_error_classes() -> list[type[OnnxslimError]]:
    """Every error that a command may end with, by exit code."""
    ours = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OnnxslimError)]
    return sorted({*ours, EndedEarlyError}, key=lambda kind: (kind.exit_code, kind.kind))


def describe_type(kind: Any) -> dict[str, Any]:
    """The JSON schema of what the converter writes of a value of type ``kind``; a number that is not finite is null."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is typing.Annotated:
        return describe_type(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return _join([describe_type(argument) for argument in arguments])
    if origin is Literal:
        return {"enum": list(arguments)}
    if dataclasses.is_dataclass(kind):
        return describe_record(kind)
    if kind is type(None):
        return {"type": "null"}
    if kind is float:
        return {"type": ["number", "null"]}
    if kind in _BASE_TYPES:
        return {"type": _BASE_TYPES[kind]}
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": describe_type(arguments[1])}
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return {"type": "array", "items": describe_type(arguments[0])}
    return {}


def _join(options: list[dict[str, Any]]) -> dict[str, Any]:
    """Any of ``options``, as one list of type names where they are no more than that."""
    if any(set(option) != {"type"} for option in options):
        return {"anyOf": options}
    names = [
        name for option in options for name in ([option["type"]] if isinstance(option["type"], str) else option["type"])
    ]
    return {"type": list(dict.fromkeys(names))}


def describe_record(kind: Any) -> dict[str, Any]:
    """The schema of a dataclass: every field is written, as its type and the ``schema`` of its metadata say."""
    hints = get_type_hints(kind, include_extras=True)
    properties = {
        field.metadata.get("key", field.name): describe_type(hints[field.name]) | field.metadata.get("schema", {})
        for field in dataclasses.fields(kind)
        if field.init
    }
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": True}


def render_schema() -> str:
    """The schema, with what the types say put in its place; the rest stays as it was written."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    properties = schema["properties"]
    for part in ("input", "output"):
        properties[part] = describe_type(ModelFacts | None)
    properties["steps"] = {"type": "array", "items": describe_record(StepReport)}
    properties["stages"] = {"type": "array", "items": describe_record(Stage)}
    properties["receipt"] = describe_type(Receipt | None)
    properties["verification"] = describe_type(Verification | None)
    kinds = list_error_classes()
    properties["error"]["anyOf"][0]["properties"]["kind"]["enum"] = list(dict.fromkeys(kind.kind for kind in kinds))
    properties["exit_code"]["enum"] = sorted({0, *(kind.exit_code for kind in kinds)})
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def list_errors() -> Iterable[tuple[str, ...]]:
    """Exit code, kind, what happened."""
    yield "code", "kind", "what happened"
    yield "0", "", "done"
    for kind in list_error_classes():
        if kind is not OnnxslimError:
            yield str(kind.exit_code), f"`{kind.kind}`", summarize_doc(kind)


def list_criteria() -> Iterable[tuple[str, ...]]:
    """Criteria of importance."""
    yield "`--criterion`", "what says that a channel matters", "needs"
    for name, criterion in CRITERIA.items():
        yield f"`{name}`", criterion.summary, criterion.requires


def list_range_methods() -> Iterable[tuple[str, ...]]:
    """Ways to choose ranges."""
    yield "`--calibration`", "range of a tensor"
    for name, method in RANGE_METHODS.items():
        yield f"`{name}`", summarize_doc(method)


def list_metrics() -> Iterable[tuple[str, ...]]:
    """Metrics of both tables."""
    yield "`--metric`", "as people call it", "against", "a point"
    sources = {"labels": "labels", "original": "the original", "either": "labels, or the original"}
    metrics: list[Metric | type[DatasetMetric]] = [*METRICS.values(), *DATASET_METRICS.values()]
    for metric in metrics:
        is_rise = isinstance(metric, Metric) and metric.is_relative
        is_share = metric.higher_is_better or not isinstance(metric, Metric)
        point = "a rise by 1 %" if is_rise else f"{100 * metric.point:.3g} %" if is_share else f"{metric.point:g}"
        yield f"`{metric.name}`", metric.display_name, sources[metric.against], point


def list_targets() -> Iterable[tuple[str, ...]]:
    """Runtimes."""
    yield "`--target`", "provider", "ops with an int8 kernel"
    for name, target in TARGETS.items():
        yield f"`{name}`", target.provider, ", ".join(sorted(target.supported_ops)) or "none"


#: name → its rows, the header first
TABLES: dict[str, Callable[[], Iterable[tuple[str, ...]]]] = {
    "errors": list_errors,
    "metrics": list_metrics,
    "criteria": list_criteria,
    "range-methods": list_range_methods,
    "targets": list_targets,
}


def summarize_doc(thing: object) -> str:
    """The first sentence of a docstring, on one line."""
    paragraph = (inspect.getdoc(thing) or "").split("\n\n", 1)[0]
    return " ".join(paragraph.replace("``", "`").split()).rstrip(".")


def render_page(text: str) -> str:
    """A page with its lists as the tables have them now."""

    def render(match: re.Match[str]) -> str:
        header, *rows = TABLES[match[1]]()
        lines = [header, ("---",) * len(header), *rows]
        table = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
        return f"<!-- table: {match[1]} -->\n{table}\n<!-- end -->"

    return _BLOCK.sub(render, text)


def render_all() -> dict[Path, str]:
    """Every file that is generated, whole or in part, with its content as it should be."""
    pages = {page: page.read_text(encoding="utf-8") for page in sorted(DOCS.rglob("*.md"))}
    return {SCHEMA: render_schema(), **{page: render_page(text) for page, text in pages.items() if _BLOCK.search(text)}}


def main() -> int:
    """Rewrite what differs, or with ``--check`` only say what does."""
    stale = [path for path, content in render_all().items() if path.read_text(encoding="utf-8") != content]
    for path in stale:
        print(f"{path.relative_to(DOCS)} is not up to date")
        if "--check" not in sys.argv:
            path.write_text(render_all()[path], encoding="utf-8")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
