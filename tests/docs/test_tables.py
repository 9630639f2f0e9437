"""What the documentation lists is what the tables hold."""

from __future__ import annotations

import re

from onnxslim.pipeline.recipe import PRESETS
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.validation.metrics.dataset_metrics import DATASET_METRICS
from onnxslim.validation.metrics.table import METRICS
from tests.support.paths import ROOT


def first_column(page: str, before: str) -> set[str]:
    """The names in backticks that begin the rows of the first table behind the text ``before``."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").split(before, 1)[1]
    rows = re.match(r"[^|]*((?:\|.*\n)+)", text)
    assert rows is not None
    return {name for row in rows[1].splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_every_metric_is_in_the_table_of_metrics() -> None:
    assert first_column("explanation/judging.md", "## Metrics") == {*METRICS, *DATASET_METRICS}


def test_every_preset_is_in_the_table_of_presets() -> None:
    assert first_column("reference/recipes.md", "looks for them within `--budget`.") == set(PRESETS)


def test_every_target_is_named_on_its_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for target in TARGETS.values():
        page = f"targets/{target.provider}.md"
        assert page in navigation
        assert f"{target.name}`" in (ROOT / "docs" / page).read_text(encoding="utf-8")
