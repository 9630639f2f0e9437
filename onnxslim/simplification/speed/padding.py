"""When a window is slower with the padding inside than behind a Pad.

The runtime's blocked kernels (NCHWc) compute several neighbors of a row at a time, so that each weight is read once for
all; an output that sees padding on its row is computed alone. And a column (a map of width 1) is walked as one row, several
outputs at a time, only where nothing is padded. A Pad costs one copy of the input instead, which is little where a window
has many taps. Measured with one thread on AVX512: 64x1 on 128 positions 0.42 times the speed with the padding inside, 7x7 on
14x14 0.83, 3x3 on 14x14 1.2, depthwise 1.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

#: A row shorter than this holds two blocks of outputs at most, and a column shorter than this gains nothing as a row.
_MIN_ROW, _MIN_COLUMN = 12, 48
#: With fewer taps the copy costs as much as is saved.
_MIN_TAPS = 15
#: Input channels that an output sums over; of fewer, reading weights is not what takes the time.
_MIN_CHANNELS = 16
#: The share of a row's outputs that may see padding.
_MAX_EDGE_SHARE = 1 / 6


def describe_loss(
    kernel: Sequence[int], pads: Sequence[int], strides: Sequence[int], outputs: Sequence[int | None], channels: int
) -> str | None:
    """Why a window over an image should not pad by itself; None where that is as fast, or nothing is known against it.

    Args:
        kernel: Height and width; what is no image (one axis, three axes) has no blocked kernel and is never slower.
        pads: All of it: top, left, bottom, right.
        strides: Of both axes.
        outputs: Height and width of the result; None where that is free.
        channels: That each output sums over; 1 of pools and of depthwise convolutions.
    """
    if len(kernel) != 2:
        return None
    (rows, columns), taps = outputs, math.prod(kernel)
    if columns == 1 and kernel[1] == 1 and not pads[1] and not pads[3]:
        is_long = rows is not None and rows >= _MIN_COLUMN and strides[0] == 1 and (taps >= _MIN_TAPS or channels > 1)
        return f"slower: the runtime computes a column of {rows} as one row only where it is not padded" if is_long else None
    if taps < _MIN_TAPS or channels < _MIN_CHANNELS or columns is None or columns < _MIN_ROW:
        return None
    edges = min(columns, sum(math.ceil(pad / strides[1]) for pad in (pads[1], pads[3])))
    if edges <= _MAX_EDGE_SHARE * columns:
        return None
    return f"slower: {edges} of {columns} outputs of a row would see padding, which the runtime computes one by one"
