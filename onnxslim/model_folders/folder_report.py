"""The one report of a folder: a line for each ONNX file, and the whole in numbers."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from onnxslim.model_folders.folder_files import REPORT_NAME, FolderFiles
from onnxslim.model_folders.folder_writer import FolderWriter
from onnxslim.model_folders.layouts.layout import FolderModel
from onnxslim.model_folders.model_folder import INPUT_CONFIGS, ModelFolder
from onnxslim.pipeline.result import ModelFacts, Result
from onnxslim.reporting.figures import list_rows

Fate = Literal["compressed", "original", "kept", "valid", "planned", "pass", "fail", "cannot tell"]


@dataclass(frozen=True)
class MemberOutcome:
    """What became of one ONNX file.

    Attributes:
        member: Which.
        fate: ``compressed``; ``original`` where nothing was gained; ``kept`` where nothing was tried; ``valid`` where it was
            only looked at; of one that was verified the verdict, or ``planned``.
        why: In one line, where it is to be told.
        written: The path of the result, relative to the folder.
        result: What the command found; None of what was kept.
    """

    member: FolderModel
    fate: Fate
    why: str | None
    written: str
    result: Result | None = None


#: (member, path of its file) -> what came of it, and a remark on how, or None.
Work = Callable[[FolderModel, str], tuple[Result, "str | None"]]


def describe_folder(
    folder: ModelFolder,
    command: str,
    outcomes: Sequence[MemberOutcome],
    out: str | None = None,
    written: FolderFiles | None = None,
    copied: int = 0,
    *,
    pipelines: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """A result without a model: the folder as ``input`` and ``output``, and ``extra["folder"]`` with each of ``outcomes``.

    Args:
        folder: What was read.
        command: Named in the result.
        outcomes: In order of name.
        out: What was written; None where results were written beside the originals, or nothing was.
        written: What lies there, where ``out`` is named.
        copied: How many files were copied as they were.
        pipelines: What models that serve together were judged by (:mod:`onnxslim.model_folders.pipelines.settlement`).
    """
    reports = [one.result for one in outcomes if one.result is not None]
    facts = _sum_facts(folder.files, folder.files.root, [report.input for report in reports])
    output = None
    if out is not None and written is not None:
        output = _sum_facts(written, out, [report.output or report.input for report in reports])
    entries = [_describe_outcome(outcome) for outcome in outcomes]
    found = {"layout": folder.layout.NAME, "models": entries, "copied_files": copied, "pipelines": list(pipelines)}
    extra: dict[str, Any] = {"folder": found}
    warnings = [f"{one.member.path}: {line}" for one in outcomes if one.result is not None for line in one.result.warnings]
    return Result(command, input=facts, output=output, extra=extra, warnings=warnings)


def describe_layout(folder: ModelFolder) -> dict[str, Any]:
    """The layout of ``folder``, what each file is for, and which files tell how inputs are made."""
    return {
        "path": folder.files.root,
        "layout": folder.layout.NAME,
        "models": [dict(vars(member)) for member in folder.members],
        "input_configs": [path for path in folder.files.files if posixpath.basename(path) in INPUT_CONFIGS],
    }


def describe_pipeline(pipeline: Mapping[str, Any]) -> list[str]:
    """A line for each decoder of one of the report's ``pipelines``, for people."""
    lines = []
    for decoder in pipeline["decoders"]:
        files = " → ".join([pipeline["encoder"], *decoder["files"]])
        figures = ", ".join(f"{row.name} {row.result}" for row in list_rows({"metrics": decoder["metrics"]}))
        lines.append(f"{files}, judged together on {pipeline['texts']} texts of {pipeline['tokens']} tokens: {figures}")
    return lines


def write_report(result: Result, writer: FolderWriter) -> None:
    """Put the report into the folder that is written."""
    with open(writer.place(REPORT_NAME), "w", encoding="utf-8") as file:
        json.dump(result.as_json(), file, indent=2, allow_nan=False)
        file.write("\n")


def _describe_outcome(outcome: MemberOutcome) -> dict[str, Any]:
    return {
        "path": outcome.member.path,
        "role": outcome.member.role,
        "fate": outcome.fate,
        "why": outcome.why,
        "written": outcome.written,
        "report": None if outcome.result is None else outcome.result.as_json(),
    }


def _sum_facts(files: FolderFiles, path: str, models: Sequence[ModelFacts | None]) -> ModelFacts:
    """A folder in numbers: bytes and digest of all its files; parameters and arithmetic of models that were looked at."""
    lines = "\n".join(f"{name} {digest}" for name, digest in files.digest().items())
    params, macs = (sum(getattr(one, name) for one in models if one is not None) for name in ("params", "macs"))
    return ModelFacts(path, hashlib.sha256(lines.encode()).hexdigest(), files.count_bytes(), params, macs)
