"""Every layout answers what is asked of it."""

from __future__ import annotations

import pytest

from onnxslim.model_folders.layouts.layout import Layout
from onnxslim.model_folders.layouts.registry import LAYOUTS
from tests.model_folders.layouts.test_registry import EXPECTED


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.NAME)
def test_a_layout_has_what_the_interface_lists_and_a_fixture(layout):
    members = {*Layout.__annotations__, *(name for name in vars(Layout) if not name.startswith("_"))}
    assert {"NAME", "recognizes", "list_models", "check_model"} <= members
    assert [name for name in members if not hasattr(layout, name)] == []
    assert layout.NAME in {name for name, _ in EXPECTED.values()}


def test_the_last_layout_takes_any_folder():
    assert LAYOUTS[-1].NAME == "plain"
