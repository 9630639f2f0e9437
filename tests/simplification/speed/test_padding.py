"""Which padding a window should not do by itself."""

from __future__ import annotations

import pytest

from onnxslim.simplification.speed.padding import describe_loss


@pytest.mark.parametrize(
    ("kernel", "pads", "strides", "outputs", "channels"),
    [
        ([64, 1], [31, 0, 32, 0], [1, 1], [128, 1], 16),
        ([64, 1], [31, 0, 32, 0], [1, 1], [128, 1], 1),
        ([5, 1], [2, 0, 2, 0], [1, 1], [64, 1], 8),
        ([7, 7], [3, 3, 3, 3], [1, 1], [None, 14], 16),
        ([1, 15], [0, 7, 0, 7], [1, 1], [16, 16], 16),
        ([9, 9], [4, 4, 4, 4], [1, 2], [12, 12], 64),
    ],
)
def test_columns_and_rows_with_wide_padding_are_slower(
    kernel: list[int], pads: list[int], strides: list[int], outputs: list[int | None], channels: int
) -> None:
    reason = describe_loss(kernel, pads, strides, outputs, channels)
    assert reason is not None
    assert "slower" in reason


@pytest.mark.parametrize(
    ("kernel", "pads", "strides", "outputs", "channels"),
    [
        ([64], [31, 32], [1], [128], 64),
        ([3, 3, 3], [1] * 6, [1, 1, 1], [8, 8, 8], 64),
        ([3, 3], [1, 1, 1, 1], [1, 1], [14, 14], 64),
        ([7, 7], [3, 3, 3, 3], [1, 1], [14, 14], 1),
        ([7, 7], [3, 3, 3, 3], [1, 1], [56, 56], 64),
        ([7, 7], [3, 3, 3, 3], [1, 1], [None, None], 64),
        ([5, 1], [2, 0, 2, 0], [1, 1], [64, 1], 1),
        ([3, 1], [1, 0, 1, 0], [2, 1], [64, 1], 64),
        ([64, 1], [0, 0, 0, 0], [1, 1], [16, 1], 64),
        ([3, 3], [1, 1, 1, 1], [1, 1], [64, 1], 64),
    ],
)
def test_others_are_not(
    kernel: list[int], pads: list[int], strides: list[int], outputs: list[int | None], channels: int
) -> None:
    assert describe_loss(kernel, pads, strides, outputs, channels) is None
