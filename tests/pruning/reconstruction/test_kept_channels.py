"""Which channels are left, over any number of rounds."""

from __future__ import annotations

import numpy as np

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.graph.layers import find_linear_layers
from onnxslim.pruning.reconstruction.kept_channels import KeptChannels
from tests.support import nets
from tests.support.mask_oracle import remove_units


def test_kept_slots_compose_over_rounds() -> None:
    model = nets.mlp((16, 32, 5))
    analysis = analyze_channels(model)
    first = analysis.to_mask(np.arange(0, 32, 2))
    pruned = remove_units(model, first, analysis)
    again = analyze_channels(pruned)
    second = again.to_mask(np.arange(0, 16, 2))
    kept = KeptChannels().after_removing(analysis, first).after_removing(again, second)
    tensor = str(next(iter(find_linear_layers(model.graph).values())).output.name)
    axis = kept(tensor)[1]
    assert axis is not None
    np.testing.assert_array_equal(axis, np.arange(32)[1::2][1::2])
