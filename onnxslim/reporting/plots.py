"""Plots as inline SVG that takes its colours from the page, so that one file serves the light and the dark scheme.

matplotlib draws with placeholder colours, which become CSS variables; its text stays text; nothing in the output
depends on the clock, on a random id or on the user's own matplotlib settings. It is imported when a plot is drawn.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxslim.reporting import figures, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: role → the placeholder matplotlib draws with; the page defines ``--plot-<role>``
_ROLES = ("ink", "muted", "line", "original", "result", "float", "soft")
COLORS = {role: f"#0{i}0{i}0{i}" for i, role in enumerate(_ROLES, 1)}

_PLOT_STYLE = {
    "svg.hashsalt": "onnxslim",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": COLORS["ink"],
    "text.parse_math": False,
    "axes.edgecolor": COLORS["line"],
    "axes.labelcolor": COLORS["muted"],
    "axes.titlecolor": COLORS["ink"],
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": COLORS["line"],
    "grid.linewidth": 0.7,
    "xtick.color": COLORS["muted"],
    "ytick.color": COLORS["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.labelcolor": COLORS["muted"],
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}

_FIGURE_WIDTH = 9.6
#: The width of a letter, as a share of a plot's.
_LETTER_WIDTH = 0.0085


def plot_stages(entries: Sequence[Mapping[str, Any]], name: str, unit: str) -> str:
    """Size, latency and the metric called ``name`` after each step, as panels over the same rows."""
    panels: list[tuple[str, list[float | None], Any]] = [
        ("Size", [entry.get("bytes") for entry in entries], text.format_size),
        ("Latency", [entry.get("median_ms") for entry in entries], text.format_milliseconds),
        (name, [entry.get("metric") for entry in entries], lambda value: figures.format_metric(value, unit)),
    ]
    shown = [panel for panel in panels if any(value is not None for value in panel[1])]
    names = [text.shorten(text.clean(entry["name"]), 24) for entry in entries]
    with open_figure("stages", height=0.42 * len(names) + 0.75, columns=len(shown)) as (figure, axes, to_svg):
        for index, (ax, (title, values, formatter)) in enumerate(zip(axes, shown, strict=True)):
            _draw_panel(ax, title, values, formatter, dots=title == name)
            ax.set_yticks(range(len(names)), names if index == 0 else [""] * len(names))
            ax.set_ylim(len(names) - 0.4, -0.6)
        axes[0].tick_params("y", labelcolor=COLORS["ink"])
        figure.subplots_adjust(left=0.1, right=0.985, top=0.86, bottom=0.03, wspace=0.12)
    return to_svg({})


def _draw_panel(ax: Axes, title: str, values: Sequence[float | None], formatter: Any, *, dots: bool) -> None:
    """One figure per row: bars from zero, or, where small differences matter, dots on a scale of their own."""
    known = [(i, value) for i, value in enumerate(values) if value is not None]
    top = max(value for _, value in known) or 1.0
    low = min(value for _, value in known)
    ax.set_title(title)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.set_xticks([])
    span = max(top - low, 0.01 * abs(top)) if dots else top
    start = low - 0.35 * span if dots else 0.0
    ax.set_xlim(start, top + (0.75 if dots else 0.42) * span)
    for i, value in known:
        color = COLORS["original" if i == 0 else "result"]
        if dots:
            ax.plot([start, top], [i, i], color=COLORS["line"], linewidth=0.8, zorder=1)
            ax.plot([value], [i], "o", color=color, markersize=7)
        else:
            ax.barh(i, value, height=0.52, color=color)
        ax.annotate(formatter(value), (top if dots else value, i), (8, 0), textcoords="offset points", va="center")


def plot_latency(original: Sequence[float], result: Sequence[float]) -> str:
    """The rounds of both models in milliseconds, one histogram above the other; the last bar holds the slowest."""
    both = np.concatenate([original, result])
    low, high = float(both.min()), float(np.quantile(both, 0.99))
    pad = 0.03 * (high - low) or 0.01 * high
    bins = np.linspace(max(low - pad, 0), high + pad, 80)
    with open_figure("latency", height=2.6, rows=2) as (figure, axes, to_svg):
        for ax, role, values in zip(axes, ("original", "result"), (original, result), strict=True):
            counts, _ = np.histogram(np.clip(values, bins[0], bins[-1]), bins)
            ax.stairs(counts, bins, fill=True, color=COLORS[role])
            median = float(np.median(values))
            ax.axvline(median, color=COLORS["ink"], linewidth=1)
            ax.set_yticks([counts.max() / 2], [f"{role}\nmedian {text.format_milliseconds(median)}"])
            ax.tick_params("y", labelcolor=COLORS["ink"])
            ax.set_xlim(bins[0], bins[-1])
            ax.spines["left"].set_visible(False)
        axes[0].set_xticks([])
        axes[1].set_xlabel("milliseconds an inference")
        figure.subplots_adjust(left=0.155, right=0.988, top=0.98, bottom=0.19, hspace=0.12)
    return to_svg({})


def plot_intervals(metrics: Sequence[Mapping[str, Any]]) -> str:
    """How far each metric moved, in points, with its 95 % interval; the band is what these samples could not prove."""
    names = [figures.metric_name(metric["name"]) for metric in metrics]
    with open_figure("intervals", height=0.46 * len(names) + 0.7) as (figure, axes, to_svg):
        ax = axes[0]
        ends: list[float] = [0.0]
        for i, metric in enumerate(metrics):
            low, high, drop = (-100 * value for value in (metric["interval"][1], metric["interval"][0], metric["drop"]))
            ends += [low, high]
            if metric.get("provable"):
                width = 100 * metric["provable"]
                ax.barh(i, 2 * width, left=-width, height=0.62, color=COLORS["soft"])
                ends += [-width, width]
            ax.plot([low, high], [i, i], color=COLORS["result"], linewidth=2.4, solid_capstyle="round")
            ax.plot([drop], [i], "o", color=COLORS["result"], markersize=7.5)
            ax.annotate(text.format_signed(drop), (drop, i), (0, 8), textcoords="offset points", ha="center", fontsize=9)
        ax.axvline(0, color=COLORS["muted"], linewidth=1)
        pad = 0.08 * (max(ends) - min(ends)) or 0.5
        ax.set_xlim(min(ends) - pad, max(ends) + pad)
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.4, -0.75)
        ax.tick_params("y", labelcolor=COLORS["ink"])
        ax.spines[["left", "bottom"]].set_visible(False)
        ax.grid(axis="x")
        ax.set_xlabel("change against the original, in points")
        figure.subplots_adjust(left=0.12, right=0.985, top=0.98, bottom=min(0.5, 0.5 / figure.get_figheight()))
    return to_svg({})


def plot_layers(entries: Sequence[Mapping[str, Any]]) -> str:
    """The SQNR of each layer in graph order, coloured by the kernel that runs it; hovering names the layer."""
    values = [entry.get("sqnr_db") for entry in entries]
    known = [value for value in values if value is not None]
    top = max([*known, 1.0])
    titles: dict[str, str] = {}
    with open_figure("layers", height=2.9) as (figure, axes, to_svg):
        ax = axes[0]
        for i, (entry, value) in enumerate(zip(entries, values, strict=True)):
            role = "float" if entry.get("kernel") == "float" else "result"
            bar = ax.bar(i, top if value is None else value, width=0.78, color=COLORS[role])[0]
            bar.set_gid(f"layer-{i}")
            if value is None:
                bar.set(alpha=0.35, hatch="////", edgecolor=COLORS[role], fill=False, linewidth=0.8)
            level = "equal, or not compared" if value is None else f"{value:.1f} dB"
            why = f", {text.clean(entry['why'])}" if entry.get("why") else ""
            titles[f"layer-{i}"] = (
                f"{text.clean(entry['name'])} ({text.clean(entry.get('op', ''))}): {level},"
                f" {text.clean(entry.get('kernel') or 'kernel unknown')}{why}"
            )
        ax.set_xlim(-0.8, len(entries) - 0.2)
        ax.set_ylim(min([0.0, *known]), 1.06 * top)
        ax.grid(axis="y")
        ax.spines["left"].set_visible(False)
        ax.set_ylabel("SQNR in dB")
        ax.set_xlabel("layers in graph order")
        figure.subplots_adjust(left=0.06, right=0.99, top=0.97, bottom=0.17)
    return to_svg(titles)


def plot_trials(entries: Sequence[Mapping[str, Any]], chosen: str | None) -> str:
    """Every trial by size and latency: filled when it passed, joined by a line when nothing beats it."""
    known = [entry for entry in entries if entry.get("bytes") and entry.get("median_ms")]
    top = 1.12 * max(entry["median_ms"] for entry in known)
    with open_figure("trials", height=3.4) as (figure, axes, to_svg):
        ax = axes[0]
        front = sorted((e["bytes"], e["median_ms"]) for e in known if e["pareto"] and e["passes"])
        ax.plot([x for x, _ in front], [y for _, y in front], color=COLORS["line"], linewidth=1.5, zorder=1)
        heights = _space_labels([entry["median_ms"] / top for entry in known], 0.085)
        for entry, label_height in zip(known, heights, strict=True):
            color = COLORS["result" if entry["name"] == chosen else "original" if entry["passes"] else "muted"]
            face_color = color if entry["passes"] else "none"
            point = (entry["bytes"], entry["median_ms"])
            ax.plot(*point, "o", color=color, markerfacecolor=face_color, markersize=10 if entry["name"] == chosen else 7)
            arrow = {"arrowstyle": "-", "color": COLORS["line"], "linewidth": 0.7}
            beside: dict[str, Any] = {"textcoords": "axes fraction", "va": "center", "arrowprops": arrow}
            ax.annotate(text.clean(entry["name"]), point, (1.02, label_height), **beside)
        ax.set_xlim(0, 1.06 * max(entry["bytes"] for entry in known))
        ax.set_ylim(0, top)
        ax.xaxis.set_major_formatter(lambda value, _: text.format_size(value) if value else "0")
        ax.grid()
        ax.set_xlabel("size")
        ax.set_ylabel("milliseconds an inference")
        longest = max(len(text.clean(entry["name"])) for entry in known)
        figure.subplots_adjust(left=0.075, right=1 - 0.035 - _LETTER_WIDTH * longest, top=0.97, bottom=0.15)
    return to_svg({})


def _space_labels(places: Sequence[float], gap: float) -> list[float]:
    """``places`` in (0, 1) moved up as little as it takes to stand ``gap`` apart, in their order, and not past the top."""
    order = np.argsort(places, kind="stable")
    moved = np.asarray(places, np.float64)[order]
    for index in range(1, len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + gap)
    highest = 1 - gap * np.arange(len(moved))[::-1]
    result = np.empty(len(moved))
    result[order] = np.minimum(moved, highest)
    return [float(place) for place in result]


@contextmanager
def open_figure(
    name: str, *, height: float, rows: int = 1, columns: int = 1
) -> Iterator[tuple[Figure, list[Axes], Callable[[Mapping[str, str]], str]]]:
    """A figure, its axes, and a function that gives the finished SVG once the block is left."""
    import matplotlib.style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with matplotlib.style.context(["default", _PLOT_STYLE]):
        figure = Figure(figsize=(_FIGURE_WIDTH, height))
        FigureCanvasSVG(figure)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        yield figure, list(axes), lambda titles: _inline_svg(buffer.getvalue(), name, titles)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})


def _inline_svg(svg: str, name: str, titles: Mapping[str, str]) -> str:
    """matplotlib's file as an element of a page: no prologue, no ids that another plot has too, the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    head, body = svg.split(">", 1)
    head = re.sub(r' (?:width|height|version)="[^"]*"', "", head)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(url\(|href=")#', rf"\1#{name}-", body)
    for role, color in COLORS.items():
        body = re.sub(f"(?<=: ){color}", f"var(--plot-{role})", body)
    # The page's font, however this version of matplotlib spells its own.
    body = re.sub(r" font-family: [^;\"]*;", "", body)
    body = re.sub(r"font: ([^;\"]*?)'DejaVu Sans'[^;\"]*", r"font: \1var(--font)", body)
    for gid, title in titles.items():
        group_tag = f'<g id="{name}-{gid}">'
        body = body.replace(group_tag, f"{group_tag}<title>{html.escape(title)}</title>", 1)
    return f'{head} class="plot" role="img" aria-label="{name}">{body}'
