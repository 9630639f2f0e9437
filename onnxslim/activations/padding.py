"""Samples without their padding, so that nobody computes what nobody reads: most of what a model makes of texts, often.

Where a mask leaves out the ends of samples, the same samples cut off there are other inputs, and a model may count its
places. So it is run on both, and they are cut only where everything that is read comes out the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.activations.read_places import agree, find_read_places, spread_runs
from onnxslim.core.errors import OnnxslimError
from onnxslim.data.columns import Column, ColumnRows, Indices, stack_rows
from onnxslim.data.samples import Samples
from onnxslim.runtime.session import Session, SessionConfig

#: The share of all places that has to be padding for cutting to be worth other shapes in every run.
_MIN_PADDING = 0.1
#: Samples of one length that follow each other, at most.
_RUN_SAMPLES = 16


@dataclass(frozen=True, eq=False)
class TrimmedColumn:
    """The rows of another column, each cut off behind so many places of its first axis.

    Attributes:
        column: The rows in full.
        lengths: int64 (rows,): how much of each is left.
    """

    column: Column
    lengths: np.ndarray

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.column.dtype

    @property
    def shapes(self) -> dict[tuple[int, ...], int]:
        (shape,) = self.column.shapes
        lengths, rows = np.unique(self.lengths, return_index=True)
        return {(length, *shape[1:]): row for length, row in zip(lengths.tolist(), rows.tolist(), strict=True)}

    def __len__(self) -> int:
        return len(self.column)

    def read(self, chunks: Sequence[Indices]) -> Iterator[ColumnRows]:
        for chunk, rows in zip(chunks, self.column.read(chunks), strict=True):
            yield stack_rows([row[:length] for row, length in zip(rows, self.lengths[chunk].tolist(), strict=True)])


def trim_padding(model: ir.Model, samples: Samples, config: SessionConfig) -> Samples:
    """``samples`` cut off where a mask of ``model`` says that they end, those of one length in a row; the same where there
    is none, or where the model then gives something else.

    Args:
        model: What they are for; read only.
        samples: Of one shape each input; those that follow each other in time stay as they are.
        config: How the model runs.
    """
    if samples.fixed_batch is not None or samples.state or (places := find_read_places(model, samples, config)) is None:
        return samples
    masks = [places[number] for number in range(len(samples))]
    lengths, sizes = np.array([mask.sum() for mask in masks]), {len(mask) for mask in masks}
    if len(sizes) != 1 or any(not mask[:length].all() for mask, length in zip(masks, lengths, strict=True)):
        return samples
    size = sizes.pop()
    if lengths.min() < 1 or lengths.mean() > (1 - _MIN_PADDING) * size:
        return samples
    names = [name for name, shape in samples.shapes.items() if shape is not None and shape[:1] == (size,)]
    if any(feed.axis != 0 for feed in samples.feeds if feed.input.name in names):
        return samples
    by_row = lengths[samples.source_positions]
    columns = {f.input.name: TrimmedColumn(f.column, by_row) for f in samples.feeds if f.input.name in names}
    chosen = spread_runs(samples, np.flatnonzero(lengths < size).tolist())
    trimmed = samples.with_columns(columns)
    if not _gives_the_same(Session(model, config), samples.take(chosen), trimmed.take(chosen), lengths[chosen]):
        return samples
    return trimmed.take(_order(lengths))


def _order(lengths: np.ndarray) -> np.ndarray:
    """Samples of one length in a row, for these share runs, and the rows mixed, for whoever takes the first few of all; but
    the longest first, for by these memory is planned.
    """
    order = np.argsort(-lengths, kind="stable")
    rows = [
        row[start : start + _RUN_SAMPLES]
        for row in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
        for start in range(0, len(row), _RUN_SAMPLES)
    ]
    mixed = np.random.default_rng(0).permutation(len(rows) - 1) + 1
    return np.concatenate([rows[0], *(rows[number] for number in mixed)])


def _gives_the_same(session: Session, full: Samples, trimmed: Samples, lengths: np.ndarray) -> bool:
    """Whether what is read comes out the same of each sample in full and cut off, of ``lengths`` places."""
    try:
        for length, before, after in zip(lengths.tolist(), full.batches(1), trimmed.batches(1), strict=True):
            wanted, found = session.run(dict(before)), session.run(dict(after))
            if not agree([_cut(wanted, found, length), found]):
                return False
    except OnnxslimError:  # of a size that the model does not take
        return False
    return True


def _cut(wanted: Mapping[str, Any], found: Mapping[str, Any], length: int) -> dict[str, Any]:
    """``wanted`` with the first ``length`` places of what has fewer of them in ``found``."""
    cut = {}
    for name, array in wanted.items():
        other = found[name]
        has_places = isinstance(array, np.ndarray) and array.ndim > 1 and array.shape[1:2] != np.shape(other)[1:2]
        cut[name] = array[:, :length] if has_places else array
    return cut
