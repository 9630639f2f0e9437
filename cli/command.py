"""What every command does around its own work: options in, and the outcome delivered.

A command is a function ``(common, **its own parameters) -> Result`` under :func:`command`; how its outcome looks on a
terminal is a function of the outcome's JSON, ``show``.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import click
import yaml

from onnxslim.core.errors import GateError, InconclusiveError, OnnxslimError, UsageError
from onnxslim.core.memory_budget import plan_memory
from onnxslim.model_folders import naming
from onnxslim.model_io import model_file
from onnxslim.pipeline.result import Result
from onnxslim.reporting.terminal import render_terminal as summary
from onnxslim.runtime.devices.connection import open_device
from onnxslim.runtime.devices.machine_figures import count_cores
from onnxslim.runtime.devices.remote import RemoteDevice
from onnxslim.runtime.energy.energy_counter import EnergyMeter, find_counter
from onnxslim.runtime.providers import CPU, Provider

from .console import terminal
from .console.mlflow_run import load_mlflow, log_run
from .console.output import (
    PageFunction,
    ShowFunction,
    Writers,
    deliver,
    deliver_folder,
    format_failure,
    report_gate_failure,
    write_model,
    write_more,
)
from .console.provenance import describe_provenance
from .folder_command import check_folder, run_on_folder, show_folder
from .limits import enforce_limits
from .options.common_options import OPTION_SECTIONS, RECEIPT, CommonOptions, check_output_path, split_params


class Command(click.Command):
    """A command whose help lists its own options first, then everybody's."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        common_options = {option for options in OPTION_SECTIONS.values() for option in options}
        all_params = self.get_params(ctx)  # --help among them
        own_options = tuple(p for p in all_params if p not in common_options)
        for title, params in {"Options": own_options, **OPTION_SECTIONS}.items():
            shown = [p for p in params if isinstance(p, click.Option) and p in all_params]
            records = [record for p in shown if (record := p.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def command(
    name: str,
    *,
    show: ShowFunction = summary,
    makes_model: bool = False,
    has_result: bool = False,
    recipe: bool = False,
    page: PageFunction | None = None,
    writers: Writers | None = None,
) -> Callable[[Callable[..., Result]], Command]:
    """Make a command of a function.

    Args:
        name: What people type.
        show: Its outcome on a terminal.
        makes_model: Its outcome is a model, so ``-o`` is needed, and ``--receipt`` verifies it.
        has_result: Its outcome is about a model and its original, so that a model card can tell of it, as of one it makes.
        page: What its HTML report holds besides its tables.
        recipe: It plans a ``--dry-run`` itself, because its plan is a recipe.
        writers: What its own options that name files write there, by option, of its JSON.
    """

    def decorate(function: Callable[..., Result]) -> Command:
        @functools.wraps(function)
        def run(**params: Any) -> None:
            common, own_params = split_params(params)
            if makes_model:
                common = dataclasses.replace(common, receipt=own_params.pop("receipt", None))  # type: ignore[arg-type]
            terminal.set_up_logging(common.quiet, common.verbose)
            is_folder = os.path.isdir(str(own_params.get("model")))
            given_suffix, on = own_params.pop("suffix", None), own_params.pop("on", None)
            address = None if on is None else str(on)
            suffix = None if given_suffix is None else str(given_suffix)
            folder_work = None if not is_folder else run_on_folder if makes_model else check_folder
            common = _resolve_out(common, str(own_params.get("model")), suffix, is_folder)
            if common.model_card is not None and not (makes_model or has_result):
                told = f"--model-card: {name} has no result to tell of"
                raise UsageError(told, hint="verify MODEL --against ORIGINAL has one")
            common.check_paths(makes_model=makes_model and not (is_folder and suffix), folder=makes_model and is_folder)
            paths: dict[str, str | None] = {option: own_params.pop(option) for option in writers or {}}  # type: ignore[misc]
            for option, path in paths.items():
                check_output_path(f"--{option}", path)
            if common.receipt is not None:
                _check_original_stays(common, str(own_params.get("teacher") or own_params.get("model")))
            if common.mlflow:
                load_mlflow()
            if common.dry_run and not recipe:
                deliver(Result(name, recipe=_describe_call(name, params)), common, show)
                return
            meter = EnergyMeter(find_counter(Provider(CPU)))
            with (
                enforce_limits(common.timeout, common.max_memory, lambda error: _print_failure(error, name, common)),
                plan_memory(common.max_memory),
                model_file.trust_files(allow_hardlinks=common.allow_hardlinks, max_memory=common.max_memory),
            ):
                device: RemoteDevice | None = None
                try:
                    with terminal.show_progress(common.quiet) as progress, open_device(address) as device:
                        watched = dataclasses.replace(common, progress=progress, threads=common.threads or count_cores())
                        if folder_work is not None:
                            result = folder_work(name, function, watched, own_params, suffix)
                        else:
                            result = function(watched, **own_params)
                            if makes_model and not common.dry_run:
                                write_model(result, watched)
                        _tell_device(result, device)
                except (GateError, InconclusiveError) as error:
                    gate_result = getattr(error, "result", None)
                    if isinstance(gate_result, Result):
                        _tell_device(gate_result, device)
                        gate_result.extra["metadata"] = _collect_provenance(gate_result, None)
                    report_gate_failure(error, common, _choose_show(gate_result, show), makes_model=makes_model)
                    if isinstance(gate_result, Result):
                        write_more(gate_result.as_json(error), paths, writers or {})
                        if common.mlflow:
                            try:
                                log_run(gate_result.as_json(error), None)
                            except OnnxslimError as failure:  # the gate has the exit code
                                terminal.print_error(failure)
                    raise
                result.extra["energy"] = meter.add_command_joules(result.extra.get("energy"))
                result.extra["metadata"] = _collect_provenance(result, common.out if makes_model else None)
            if makes_model and is_folder:
                deliver_folder(result, common, show_folder)
            else:
                deliver(result, common, _choose_show(result, show), page)
            if not common.dry_run:
                write_more(result.as_json(), paths, writers or {})
                if common.mlflow:
                    judged = None if result.output is None else result.output.path
                    log_run(result.as_json(), common.out if makes_model else judged)

        own_options = [*reversed(getattr(run, "__click_params__", [])), *([RECEIPT] if makes_model else [])]
        own_flags = {flag for option in own_options for flag in option.opts}
        # a command's own meaning of a flag comes before everybody's
        options = [option for section in OPTION_SECTIONS.values() for option in section if not own_flags & set(option.opts)]
        help_text = function.__doc__ or ""
        return Command(
            name, params=[*own_options, *options], callback=run, help=help_text, short_help=help_text.split("\n")[0]
        )

    return decorate


def _tell_device(result: Result, device: RemoteDevice | None) -> None:
    """Whose times those of ``result`` are."""
    if device is not None:
        result.extra["timed_on"] = {**device.facts, "address": device.name}


def _choose_show(result: object, show: ShowFunction) -> ShowFunction:
    """How ``result`` looks: that of a folder is a table of its models."""
    return show_folder if isinstance(result, Result) and "folder" in result.extra else show


def _resolve_out(common: CommonOptions, model: str, suffix: str | None, is_folder: bool) -> CommonOptions:
    """``common`` with the OUT that a suffix names: a file beside IN; of a folder that is settled file by file."""
    if suffix is None:
        return common
    name = naming.add_suffix(os.path.basename(model), suffix)
    if is_folder:
        return common
    if common.out is not None:
        raise UsageError("-o and --suffix: both say where the result goes", hint="give one of them")
    return dataclasses.replace(common, out=os.path.join(os.path.dirname(model), name))


def _check_original_stays(common: CommonOptions, original: str) -> None:
    """Refuse a receipt of a result that takes the place of its original.

    Raises:
        UsageError: It does.
    """
    if common.out is not None and os.path.exists(common.out) and os.path.samefile(common.out, original):
        raise UsageError(f"--receipt: OUT takes the place of {original}, which it is verified by", hint="name another OUT")


def _collect_provenance(result: Result, out: str | None) -> dict[str, str]:
    words = click.get_current_context().find_root().obj or ()
    return describe_provenance(words, [result.input.path if result.input is not None else None, out])


def _print_failure(error: OnnxslimError, name: str, common: CommonOptions) -> None:
    if common.json:
        terminal.print_text(format_failure(error, name))
    else:
        terminal.print_error(error)


def _describe_call(name: str, params: dict[str, Any]) -> str:
    """The call as YAML: the command, and every parameter that was given."""
    given_params = {key: _to_plain(value) for key, value in params.items() if value and key != "dry_run"}
    return str(yaml.safe_dump({name: given_params}, sort_keys=False))


def _to_plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [list(v) if isinstance(v, tuple) else v for v in value]
    return value
