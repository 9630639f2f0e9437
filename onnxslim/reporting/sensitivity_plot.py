"""The plot of a sensitivity: what the outputs keep as a layer's channels go, and what a layer's own output keeps in int8."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxslim.reporting import text
from onnxslim.reporting.plots import COLORS, open_figure

#: So many of the most sensitive families are drawn to stand out.
MAX_HIGHLIGHTED = 3


def plot_sensitivity(report: Mapping[str, Any]) -> str:
    """Inline SVG of the JSON's ``sensitivity``; hovering names a layer. Empty when there is nothing to draw."""
    sensitivity = report["sensitivity"]
    families, layers = sensitivity["channels"], [entry for entry in sensitivity["int8"] if entry["sqnr_db"] is not None]
    if not families and not layers:
        return ""
    titles: dict[str, str] = {}
    with open_figure("sensitivity", height=3.4, columns=2) as (figure, axes, to_svg):
        curves, bars = axes
        for number, family in reversed(list(enumerate(families))):
            levels = [(level["gone"] / family["units"], level["sqnr_db"]) for level in family["levels"]]
            known = [(share, db) for share, db in levels if db is not None]
            if not known:
                continue
            role = "result" if number < MAX_HIGHLIGHTED else "soft"
            (line,) = curves.plot(*zip(*known, strict=True), marker="o", markersize=3, color=COLORS[role])
            line.set_gid(f"family-{number}")
            titles[f"family-{number}"] = f"{text.clean(family['node'])}: {family['units']} channels"
        curves.set(xlabel=f"share of a layer's channels gone; dark: the {MAX_HIGHLIGHTED} most sensitive", xlim=(0, 1.02))
        curves.set(ylabel="SQNR of the outputs in dB")
        for number, layer in enumerate(layers):
            bar = bars.bar(number, layer["sqnr_db"], width=0.8, color=COLORS["result"])[0]
            bar.set_gid(f"int8-{number}")
            titles[f"int8-{number}"] = f"{text.clean(layer['node'])} ({text.clean(layer['op'])}): {layer['sqnr_db']:.1f} dB"
        bars.set(xlabel="layers alone in int8, the most sensitive first", ylabel="SQNR of a layer's output in dB", xticks=[])
        for ax in (curves, bars):
            ax.grid(axis="y")
        figure.subplots_adjust(left=0.07, right=0.99, top=0.97, bottom=0.15, wspace=0.2)
    return to_svg(titles)


def insert_plot(tables: str, report: Mapping[str, Any]) -> str:
    """A page of tables with the plot ahead of them, in colours that need no style sheet."""
    colors = {"ink": "#222", "muted": "#555", "line": "#ccc", "original": "#777", "result": "#1f6feb", "soft": "#b8cdea"}
    style = "".join(f"--plot-{role}:{color};" for role, color in colors.items())
    figure = f'<div style="{style}--font:sans-serif;max-width:70em">{plot_sensitivity(report)}</div>'
    return tables.replace("<body>", f"<body>{figure}", 1)
