"""Short forms of long names, which the long one leads to: what a file calls a tensor can be found in the file it came from.

Converters that fuse ops join the names of all they fused, hundreds of letters for one tensor, and a name stands in a file
once for each node that reads it.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable

import onnx_ir as ir

#: Letters that a name may have; four of a short one's are a checksum of the whole.
MAX_LENGTH = 16
#: What exporters put behind every name.
_ENDINGS = ("_output_0", ":0")


def shorten_name(name: str) -> str:
    """``name``, or of one longer than :data:`MAX_LENGTH` the end of its first part and a checksum of all of it."""
    if len(name) <= MAX_LENGTH:
        return name
    stem = name.split(";", 1)[0]
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
    return f"{stem[5 - MAX_LENGTH :]}_{zlib.crc32(name.encode()) & 0xFFFF:04x}"


def restore_names(model: ir.Model, names: Iterable[str]) -> None:
    """Call what nodes of the main graph make by those of ``names`` that :func:`shorten_name` made its name of, in place."""
    long_names = [name for name in names if len(name) > MAX_LENGTH]
    counts = Counter(map(shorten_name, long_names))
    known = {short: name for name in long_names if counts[short := shorten_name(name)] == 1}
    taken = {value.name for node in model.graph for value in node.outputs}
    for node in model.graph:
        for value in node.outputs:
            if (name := known.get(value.name or "")) and name not in taken:
                value.name = name


def adopt_short_names(model: ir.Model, other: ir.Model) -> None:
    """Call inner tensors of ``model``'s main graph by the short form of their names where ``other`` does, in place."""
    known = {value.name for node in other.graph for value in node.outputs}
    values = [value for node in model.graph for value in node.outputs]
    counts = Counter(shorten_name(value.name or "") for value in values)
    for value in values:
        short = shorten_name(value.name or "")
        if value.name not in known and short in known and counts[short] == 1 and not value.is_graph_output():
            value.name = short
