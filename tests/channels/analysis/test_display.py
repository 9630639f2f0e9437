"""An analysis as plain data."""

from __future__ import annotations

import json

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.channels.analysis.display import describe
from tests.support.channel_cases import CASES
from tests.support.channel_graphs import convs


def test_units_on_the_same_axes_are_one_group() -> None:
    net = convs("c = Conv(h, w) r = Relu(c) m = Conv(r, v)", {"w": (6, 8, 1, 1), "v": (8, 6, 1, 1)})
    found = describe(analyze_channels(net))
    assert [(g["units"], g["made_by"], g["read_by"]) for g in found["groups"]] == [
        (8, ["Conv_0"], ["Conv_1"]),
        (6, ["Conv_1"], ["Conv_3"]),
        (8, ["Conv_3"], ["Conv_4"]),
    ]
    assert found["groups"][0]["params_each"] == 27 + 1 + 6
    assert found["groups"][0]["params"] == 8 * (27 + 1 + 6)
    assert found["pinned"] == [{"reason": "graph output", "node": "y", "channels": 5, "tensors": ["y"]}]


def test_heads_and_places_within_heads_are_groups_of_their_own() -> None:
    found = describe(analyze_channels(CASES["attention"][0]))
    assert [g["units"] for g in found["groups"]] == [2, 4, 4]


def test_it_is_json() -> None:
    for net, _ in CASES.values():
        analysis = analyze_channels(net)
        found = json.loads(json.dumps(describe(analysis)))
        assert sum(group["units"] for group in found["groups"]) == found["units"] == analysis.count
