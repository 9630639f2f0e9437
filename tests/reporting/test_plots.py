"""Plots take the page's colours and draw very little too."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from onnxslim.reporting import plots
from tests.support.sample_report import sample


def test_plots_take_the_pages_colours_whatever_the_users_matplotlib_says() -> None:
    import matplotlib as mpl

    plain = plots.plot_layers(sample()["layers"])
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "pink", "svg.fonttype": "path", "axes.grid": True}):
        assert plots.plot_layers(sample()["layers"]) == plain
    assert not re.findall(r"#[0-9a-f]{6}\b", plain)
    assert "var(--plot-float)" in plain
    assert "<title>/features/features.5/conv/Conv_output_0 (Conv): " in plain


def test_plots_of_very_little_are_drawn() -> None:
    assert "<svg" in plots.plot_latency([1.0], [1.0])
    assert "<svg" in plots.plot_stages([{"name": "original", "bytes": 0}, {"name": "x", "bytes": 0}], "Top-1", "%")
    assert "<svg" in plots.plot_layers([{"name": "a", "op": "Conv", "sqnr_db": -3.0, "kernel": None, "why": None}])


def test_the_library_does_not_import_matplotlib_until_a_page_is_made() -> None:
    code = "import sys, onnxslim, onnxslim.reporting.html; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["int8", "prune 49% with low rank + int8 + int4 linear"])
def test_the_names_of_trials_end_inside_the_plot(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, figures = plots.open_figure, []

    @contextmanager
    def watched(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with drawn(*args, **kwargs) as found:
            yield found
            figures.append(FigureCanvasAgg(found[0]).figure)

    monkeypatch.setattr(plots, "open_figure", watched)
    entry = {"name": name, "bytes": 1000, "median_ms": 1.0, "pareto": True, "passes": True}
    plots.plot_trials([entry, {**entry, "name": "lossless", "bytes": 4000}], name)
    assert figures[0].get_tightbbox().x1 <= figures[0].get_figwidth()


def test_labels_keep_their_distance_and_their_order() -> None:
    placed = plots._space_labels([0.5, 0.5, 0.2, 0.98, 0.97], 0.1)
    assert sorted(range(5), key=placed.__getitem__) == [2, 0, 1, 4, 3]
    assert np.diff(sorted(placed)).min() >= 0.1 - 1e-9
    assert max(placed) <= 1
