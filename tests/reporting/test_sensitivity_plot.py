"""The plot of a sensitivity."""

from __future__ import annotations

from xml.etree import ElementTree

from onnxslim.reporting.sensitivity_plot import insert_plot, plot_sensitivity

FOUND = {
    "sensitivity": {
        "int8": [
            {"node": "a<b", "op": "Conv", "params": 1, "macs": 1, "sqnr_db": 20.0},
            {"node": "same", "op": "Conv", "params": 1, "macs": 1, "sqnr_db": None},
        ],
        "channels": [
            {
                "node": f"layer{i}",
                "units": 16,
                "levels": [{"gone": 2, "sqnr_db": 30.0 + i}, {"gone": 15, "sqnr_db": 3.0}],
            }
            for i in range(5)
        ],
        "n": 8,
    }
}


def test_every_family_and_every_compared_layer_is_drawn_by_name() -> None:
    svg = plot_sensitivity(FOUND)
    ElementTree.fromstring(svg)
    for name in ("layer0", "layer4", "a&lt;b"):
        assert f"<title>{name}" in svg
    assert "same" not in svg
    assert svg == plot_sensitivity(FOUND)


def test_nothing_to_draw_is_no_plot() -> None:
    assert plot_sensitivity({"sensitivity": {"int8": [], "channels": [], "n": 0}}) == ""


def test_the_page_holds_tables_and_plot() -> None:
    made = insert_plot("<html><body><pre>tables</pre></body></html>", FOUND)
    assert made.index("<svg") < made.index("tables")
    assert "var(--plot-result)" in made
    assert "--plot-result:" in made
