"""The report in a terminal, as rich renderables; whoever prints them decides on colours and width."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from rich import box
from rich.console import Group, OverflowMethod, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onnxslim.reporting import figures, text
from onnxslim.reporting.evidence import list_evidence
from onnxslim.reporting.figures import Report
from onnxslim.reporting.steps import StepRow, list_steps
from onnxslim.reporting.trials import MEASUREMENT_NOTE as TRIALS_HOW
from onnxslim.reporting.trials import TrialRow, list_other_points, list_trials

#: Letters of a warning, unless everything is asked for.
_MAX_WARNING_LENGTH = 240
_VERDICT_STYLES = {"better": "green", "worse": "red", "": ""}


def render_terminal(report: Report, *, explain: bool = False) -> RenderableType:
    """What was gained, what each step did, and cautions, of ``report`` (see :mod:`onnxslim.reporting`).

    ``explain`` adds what was skipped and why, and how each figure was measured.
    """
    return Group(*_build_sections(report, explain))


def _build_sections(report: Report, explain: bool) -> Iterator[RenderableType]:
    if summary := report.get("summary"):
        yield Text(text.clean(summary), "bold")
    before, after = figures.get_model_names(report)
    yield Text.assemble((before, "bold"), *([(" → ", "dim"), (after, "bold")] if after else []))
    if rows := figures.list_rows(report):
        yield _build_figure_table(rows)
    if steps := list_steps(report):
        yield _build_step_table(steps)
    if trials := list_trials(report):
        yield _build_trial_table(trials)
    for point in list_other_points(report):
        yield Text(point)
    for sentence in list_evidence(report, explain=explain):
        yield Text(sentence, "dim")
    if energy := figures.describe_energy(report):
        yield Text.assemble(("energy: ", "bold"), energy)
    if explain and report.get("layers"):
        yield _build_layer_table(report)
    if explain:
        yield from _list_skipped(steps)
        yield from _list_measurement_notes(rows)
        if trials:
            yield Text.assemble(("tried: ", "bold"), (TRIALS_HOW, "dim"))
            yield from (Text.assemble((f"{t.name}: ", "bold"), (t.note, "dim")) for t in trials if t.note)
    for warning in map(text.clean, report.get("warnings") or []):
        yield Text.assemble(("warning: ", "bold yellow"), warning if explain else text.shorten(warning, _MAX_WARNING_LENGTH))
    if error := report.get("error"):
        yield Text.assemble((f"{text.clean(error.get('kind', 'error'))}: ", "bold red"), text.clean(error["message"]))
        if error.get("hint"):
            yield Text.assemble(("hint: ", "bold"), text.clean(error["hint"]))


def _make_table(*names: str, right: Collection[str] = (), overflow: OverflowMethod = "ellipsis") -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, justify="right" if name in right else "left", overflow=overflow)
    return table


def _build_figure_table(rows: list[figures.FigureRow]) -> Table:
    table = _make_table("", "original", "result", "change", "95 % interval", right=("original", "result"))
    table.columns[-1].style = "dim"
    for row in rows:
        change = Text(row.change, _VERDICT_STYLES[row.verdict])
        table.add_row(Text(row.name), Text(row.original), Text(row.result), change, Text(row.interval))
    return table


def _build_step_table(steps: list[StepRow]) -> Table:
    table = _make_table("step", "changed", "declined", "seconds", right=("declined", "seconds"))
    for step in steps:
        seconds = "" if step.seconds is None else f"{step.seconds:.1f}"
        table.add_row(Text(step.name), Text(step.changed), str(step.left or ""), seconds)
    return table


def _build_trial_table(trials: list[TrialRow]) -> Table:
    table = _make_table("tried", "", "size", "median", "drop", "", right=("size", "median", "drop"))
    for trial in trials:
        mark = "◆" if trial.pareto else ""
        style = "bold" if trial.fate == "chosen" else ""
        fate = Text(trial.fate, "green" if trial.fate == "chosen" else "dim")
        table.add_row(Text(trial.name, style), mark, trial.size, trial.median, trial.drop, fate)
    return table


def _build_layer_table(report: Report) -> RenderableType:
    """Each layer as it runs, and the conversions that are left."""
    table = _make_table("layer", "op", "runs in", "SQNR", "why", right=("SQNR",), overflow="fold")
    for layer in report["layers"]:
        sqnr = layer.get("sqnr_db")
        table.add_row(
            Text(text.clean(layer["name"])),
            Text(text.clean(layer["op"])),
            Text(layer["kernel"], "green" if layer["kernel"] != "float" else "yellow"),
            "–" if sqnr is None else f"{sqnr:.1f} dB",
            Text(text.clean(layer.get("why") or ""), "dim"),
        )
    conversions = [
        ((f"{left['op']} of {text.clean(left['tensor'])} is left: ", "bold"), text.clean(left["why"]))
        for left in report.get("surviving") or []
    ]
    return Group(table, *(Text.assemble(*parts) for parts in conversions))


def _list_skipped(steps: list[StepRow]) -> Iterator[RenderableType]:
    for step in steps:
        for reason, nodes in step.skipped:
            yield Text.assemble((f"{step.name} declined: ", "bold"), reason)
            yield Padding(Text(", ".join(nodes), "dim"), (0, 0, 0, 2))


def _list_measurement_notes(rows: list[figures.FigureRow]) -> Iterator[RenderableType]:
    figure_by_note: dict[str, str] = {}
    for row in rows:
        figure_by_note.setdefault(row.how, row.name)
    for how, name in figure_by_note.items():
        yield Text.assemble((f"{name}: ", "bold"), (how, "dim"))
