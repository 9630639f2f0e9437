"""A command whose IN is a folder: its own work on every model in it, and one report."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxslim.core.attempts import find_start
from onnxslim.core.errors import OnnxslimError, UsageError
from onnxslim.model_folders.folder_data import MemberData, assign_data
from onnxslim.model_folders.folder_report import MemberOutcome, describe_folder, describe_pipeline
from onnxslim.model_folders.folder_run import compress_folder
from onnxslim.model_folders.folder_writer import check_target
from onnxslim.model_folders.layouts.layout import FolderModel
from onnxslim.model_folders.model_folder import ModelFolder, name_in_error, open_model_folder
from onnxslim.pipeline.result import Result
from onnxslim.reporting.evidence import describe_checks
from onnxslim.reporting.figures import list_rows
from onnxslim.reporting.text import NO_VALUE, clean, format_size

from .console.tables import format_warnings, make_grid
from .folder_options import make_configure, make_try_open
from .options.common_options import CommonOptions

#: Of the time for a folder what is left for judging models together.
_SETTLING_SHARE = 0.2
#: A command's function: (common options, **its own parameters) -> its outcome.
CommandFunction = Callable[..., Result]


def run_on_folder(
    name: str, function: CommandFunction, common: CommonOptions, params: Mapping[str, Any], suffix: str | None
) -> Result:
    """Run ``function``, which makes a model of ``params["model"]``, on every model of the folder of that name.

    Raises:
        UsageError: Nothing says where to write, or the data are called for and not there.
        OnnxslimError: Whatever the command raises on one of the models, which is named; nothing was written.
    """
    # these import every step, which who only looks need not wait for
    from .folder_pipeline import FolderPipelines, simplify_only
    from .folder_verification import FolderCertifier

    folder = open_model_folder(params["model"], suffix)
    if common.out is not None:
        check_target(folder.files, common.out, force=common.force)
    todo = [member for member in folder.members if member.variant_of is None]
    if common.dry_run:
        return Result(name, recipe=_plan(folder, function(common, **params), suffix))
    _check_options(params, todo)
    started = find_start("folder")

    configure = make_configure(folder, common)
    pipelines = FolderPipelines(folder, todo, common, configure)
    try_open = make_try_open(folder, configure)
    data = assign_data(todo, params.get("data"), params.get("eval_data"), try_open, pipelines.readers)
    data = pipelines.feed(data)
    done: list[str] = []

    def work(member: FolderModel, path: str) -> tuple[Result, str | None]:
        own_data = data[member.path]
        own_params = {
            **params,
            "model": path,
            **_share({**params, "budget": own_budget}, member, started, len(todo) - len(done)),
            **_name(own_data, params),
        }
        done.append(member.path)
        if own_data.why is not None:
            return simplify_only(configure(member, None), path, params), f"simplified only: {own_data.why}"
        return function(configure(member, own_data.source), **own_params), None

    budget = params.get("budget")

    def find_deadline(count: int) -> float | None:
        return None if budget is None else started + budget * count / len(todo)

    settlements = pipelines.make_settlements(data, params, function, find_deadline)
    own_budget = budget if budget is None or not settlements else (1 - _SETTLING_SHARE) * budget
    return compress_folder(
        folder, name, work, out=common.out, suffix=suffix, settlements=settlements, config=common.config, force=common.force,
        cautions=pipelines.cautions,
        certify=None if common.receipt is None else FolderCertifier(folder, suffix, common, settlements, pipelines.origins),
    )  # fmt: skip


def check_folder(
    name: str, function: CommandFunction, common: CommonOptions, params: Mapping[str, Any], suffix: str | None
) -> Result:
    """Run ``function``, which looks at ``params["model"]``, on every model of the folder of that name.

    Raises:
        OnnxslimError: Whatever the command raises on one of the models, which is named; or data that are for none of them.
    """
    from .folder_pipeline import FolderPipelines

    folder = open_model_folder(params["model"], suffix)
    configure = make_configure(folder, common)
    pipelines = FolderPipelines(folder, folder.members, common, configure)
    data = assign_data(folder.members, params.get("data"), None, make_try_open(folder, configure), pipelines.readers)
    data = pipelines.feed(data)
    outcomes = []
    for member in folder.members:
        own_data, path = data[member.path], folder.find(member)
        given = {**params, "model": path, **_name(own_data, params)}
        try:
            result = function(configure(member, own_data.source), **given)
        except UsageError:
            raise
        except OnnxslimError as error:
            raise name_in_error(error, path) from error
        outcomes.append(MemberOutcome(member, "valid", own_data.why, member.path, result))
    result = describe_folder(folder, name, outcomes)
    result.warnings += pipelines.cautions
    return result


def show_folder(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """A line for each ONNX file, the folder as a whole, and cautions."""
    folder, before, after = report["folder"], report["input"], report["output"]
    models = list(folder["models"])
    title = f"{clean(before['path'])}: {folder['layout']}, {len(models)} ONNX file{'s' * (len(models) != 1)}"
    if folder["copied_files"]:
        title += f", {folder['copied_files']} other file{'s' * (folder['copied_files'] != 1)} copied"
    lines = [Text(f"{clean(entry['path'])}: {clean(entry['why'])}", "dim") for entry in models if entry["why"]]
    lines += [Text(line, "dim") for line in describe_checks(report)]
    if report.get("summary"):
        lines.insert(0, Text(clean(report["summary"]), "bold"))
    lines += [Text(clean(line)) for one in folder["pipelines"] for line in describe_pipeline(one)]
    total = (
        []
        if after is None
        else [Text(f"the folder: {format_size(before['bytes'])} → {format_size(after['bytes'])}", "bold")]
    )
    return Group(_build_table(models, title), *lines, *total, *format_warnings(report))


def _build_table(models: list[Mapping[str, Any]], title: str) -> Table:
    return make_grid(("", "role", ">original", ">result", ">faster", "judged", ""), (_list_cells(m) for m in models), title)


def _list_cells(entry: Mapping[str, Any]) -> tuple[str, ...]:
    report = entry["report"] or {}
    before, after, latency = report.get("input"), report.get("output"), report.get("latency")
    judged = next((row for row in list_rows(report) if row.key == "metrics"), None) if report else None
    return (
        clean(entry["path"]),
        clean(entry["role"]),
        format_size(before["bytes"]) if before else NO_VALUE,
        format_size(after["bytes"]) if after else NO_VALUE,
        f"{latency['ratio']:.2f}×" if latency else NO_VALUE,
        NO_VALUE if judged is None else f"{judged.name} {judged.change}".strip(),
        entry["fate"],
    )


def _check_options(params: Mapping[str, Any], todo: list[FolderModel]) -> None:
    if params.get("statistics") and len(todo) > 1:
        raise UsageError("--statistics: a file for one model, and the folder has several", hint="calibrate each by itself")


def _share(params: Mapping[str, Any], member: FolderModel, started: float, left: int) -> dict[str, Any]:
    """What of one model's own: its share of the time that is left when it is begun, and its part of a study."""
    own: dict[str, Any] = {}
    if params.get("budget") is not None:
        begun = find_start(f"last {left} models")  # by whichever process: with less time another would search otherwise
        own["budget"] = max(1.0, (params["budget"] - (begun - started)) / max(1, left))
    if params.get("study") is not None:
        own["study"] = os.path.join(params["study"], member.path.replace("/", "_"))
        os.makedirs(params["study"], exist_ok=True)
    return own


def _name(own: MemberData, params: Mapping[str, Any]) -> dict[str, Any]:
    given = {"data": own.data, "eval_data": own.eval_data}
    return {name: value for name, value in given.items() if name in params}


def _plan(folder: ModelFolder, planned: Result, suffix: str | None) -> str:
    """What would be done, as YAML."""
    models = [
        {"path": one.path, "role": one.role, **({"kept": f"a variant of {one.variant_of}"} if one.variant_of else {})}
        for one in folder.members
    ]
    plan: dict[str, Any] = {"folder": folder.files.root, "layout": folder.layout.NAME, "models": models}
    if suffix is not None:
        plan["suffix"] = suffix
    return str(yaml.safe_dump({**plan, "recipe": yaml.safe_load(planned.recipe or "{}")}, sort_keys=False))
