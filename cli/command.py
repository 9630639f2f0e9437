"""What every command does around its own work: options in, and the outcome delivered.

A command is a function ``(common, **its own parameters) -> Result`` under :func:`command`; how its outcome looks on a
terminal is a function of the outcome's JSON, ``show``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import click
import yaml

from onnxslim import io
from onnxslim.errors import GateError, OnnxslimError
from onnxslim.report.terminal import terminal as summary
from onnxslim.result import Result
from onnxslim.runtime.energy import Meter, counter
from onnxslim.runtime.providers import CPU, Provider

from . import terminal
from .common import SECTIONS, Common, split
from .deliver import Page, Show, deliver, diagnose, failed
from .limits import limited
from .provenance import provenance


class Command(click.Command):
    """A command whose help lists its own options first, then everybody's."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        everybody = {option for options in SECTIONS.values() for option in options}
        given = self.get_params(ctx)  # --help among them
        own = tuple(p for p in given if p not in everybody)
        for title, params in {"Options": own, **SECTIONS}.items():
            mine = [p for p in params if isinstance(p, click.Option) and p in given]
            records = [record for p in mine if (record := p.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def command(
    name: str,
    *,
    show: Show = summary,
    makes_model: bool = False,
    recipe: bool = False,
    page: Page | None = None,
) -> Callable[[Callable[..., Result]], Command]:
    """Make a command of a function.

    Args:
        name: What people type.
        show: Its outcome on a terminal.
        makes_model: Its outcome is a model, so ``-o`` is needed.
        page: What its HTML report holds besides its tables.
        recipe: It plans a ``--dry-run`` itself, because its plan is a recipe.
    """

    def decorate(function: Callable[..., Result]) -> Command:
        @functools.wraps(function)
        def run(**params: Any) -> None:
            common, own = split(params)
            terminal.set_up_logging(common.quiet, common.verbose)
            common.check(makes_model=makes_model)
            if common.dry_run and not recipe:
                deliver(Result(name, recipe=_plan(name, params)), common, show)
                return
            meter = Meter(counter(Provider(CPU)))
            with (
                limited(common.timeout, common.max_memory, lambda error: _tell(error, name, common)),
                io.trusting(allow_hardlinks=common.allow_hardlinks, max_memory=common.max_memory),
            ):
                try:
                    with terminal.progress(common.quiet) as progress:
                        result = function(dataclasses.replace(common, progress=progress), **own)
                except GateError as error:
                    if isinstance(measured := getattr(error, "result", None), Result):
                        measured.extra["metadata"] = _provenance(measured, None)
                    diagnose(error, common, show)
                    raise
                result.extra["energy"] = meter.told(result.extra.get("energy"))
                result.extra["metadata"] = _provenance(result, common.out if makes_model else None)
            deliver(result, common, show, page)

        own = list(reversed(getattr(run, "__click_params__", [])))
        taken = {flag for option in own for flag in option.opts}
        # a command's own meaning of a flag comes before everybody's
        options = [option for section in SECTIONS.values() for option in section if not taken & set(option.opts)]
        about = function.__doc__ or ""
        return Command(name, params=[*own, *options], callback=run, help=about, short_help=about.split("\n")[0])

    return decorate


def _provenance(result: Result, out: str | None) -> dict[str, str]:
    words = click.get_current_context().find_root().obj or ()
    return provenance(words, [result.input.path if result.input is not None else None, out])


def _tell(error: OnnxslimError, name: str, common: Common) -> None:
    if common.json:
        terminal.print_text(failed(error, name))
    else:
        terminal.print_error(error)


def _plan(name: str, params: dict[str, Any]) -> str:
    """The call as YAML: the command, and every parameter that was given."""
    given = {key: _plain(value) for key, value in params.items() if value and key != "dry_run"}
    return str(yaml.safe_dump({name: given}, sort_keys=False))


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [list(v) if isinstance(v, tuple) else v for v in value]
    return value
