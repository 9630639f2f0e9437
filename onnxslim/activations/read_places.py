"""Which places of samples anybody reads: those that a mask among the inputs does not leave out, as running the model shows.

Texts are padded to one length, and a mask tells the model where they end. What a model makes of padding is no measure of
it: often most places hold nothing else. A name proves nothing, so the model is run: an input of zeros and ones, one a
place, is a mask when nothing at the places that it takes out reaches the others, and would without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import OnnxslimError
from onnxslim.data.samples import Samples
from onnxslim.runtime.session import Session, SessionConfig

#: Samples that a mask is proven on, where they fit into one run.
_PROOF_SAMPLES = 8
#: Outputs that differ by less, over their largest, are the same.
_TOLERANCE = 1e-4


class ReadPlaces:
    """Of every sample, which of its places are read.

    Args:
        samples: For each sample a bool (places,).
    """

    def __init__(self, samples: Sequence[np.ndarray]) -> None:
        self._samples = samples

    def __getitem__(self, number: int) -> np.ndarray:
        """Those of sample ``number``: bool (places,)."""
        return self._samples[number]

    def get(self, indices: Sequence[int] | range) -> np.ndarray | None:
        """Of the samples at ``indices``, which share a run: bool (n, places); None where their lengths differ."""
        chosen = [self._samples[i] for i in indices]
        return np.stack(chosen) if len({len(mask) for mask in chosen}) == 1 else None

    def select(self, indices: Sequence[int] | range, array: np.ndarray) -> np.ndarray:
        """``array`` (n, places, …) of these samples without what nobody reads, (read, …); one of another form as it is."""
        mask = self.get(indices)
        return array if mask is None or array.shape[:2] != mask.shape else array[mask]


def expand_places(mask: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """``mask`` (n, places) for each row of a tensor (n, …, features): bool (n, rows); None where no axis is that of places,
    or more than one may be.
    """
    if mask is None or not shape or shape[0] != len(mask):
        return None
    rows = shape[1:-1]
    axes = [axis for axis, size in enumerate(rows) if size == mask.shape[1]]
    if len(axes) != 1:
        return None
    aligned = mask.reshape(len(mask), *(mask.shape[1] if axis == axes[0] else 1 for axis in range(len(rows))))
    return np.broadcast_to(aligned, (len(mask), *rows)).reshape(len(mask), -1)


def find_read_places(model: ir.Model, samples: Samples, config: SessionConfig) -> ReadPlaces | None:
    """The places of ``samples`` that ``model`` does not leave out itself; None where it leaves out none that is proven."""
    if samples.state:  # what a step reads depends on those before it
        return None
    feeds = dict(next(iter(samples.batches(1))))
    for name in (name for name, array in feeds.items() if _holds_flags(array, samples.fixed_batch or 1)):
        flags = _read_flags(samples, name)
        partial = [number for number, array in enumerate(flags or ()) if 0 < array.sum() < len(array)]
        if flags is None or not partial:
            continue
        batch = next(iter(samples.take(spread_runs(samples, partial)).batches(_PROOF_SAMPLES)))
        session = Session(model, config)
        for meaning in (1, 0):
            if _is_mask(session, dict(batch), name, meaning):
                return ReadPlaces([array == meaning for array in flags])
    return None


def _holds_flags(array: np.ndarray, samples: int) -> bool:
    """Whether these are nothing but zeros and ones, one a place."""
    return array.ndim == 2 and len(array) == samples and set(np.unique(array).tolist()) <= {0, 1}


def _read_flags(samples: Samples, name: str) -> list[np.ndarray] | None:
    """What each sample holds in input ``name``, bool (places,) each; None where that is not always zeros and ones."""
    flags = list[np.ndarray]()
    for (rows,) in samples.read_rows(samples.read_size, only=name):
        for row in rows:
            array = np.asarray(row).reshape(-1)
            if not ((array == 0) | (array == 1)).all():
                return None
            flags.append(array.astype(np.bool_))
    return flags if len(flags) == len(samples) else None


def spread_runs(samples: Samples, chosen: Sequence[int]) -> np.ndarray:
    """About :data:`_PROOF_SAMPLES` of the ``chosen`` samples from all over the data, with those that share their runs."""
    batch = samples.fixed_batch or 1
    runs = np.unique(np.asarray(chosen) // batch)
    runs = runs[np.unique(np.linspace(0, len(runs) - 1, max(_PROOF_SAMPLES // batch, 1)).astype(np.intp))]
    return np.asarray((runs[:, None] * batch + np.arange(batch)).reshape(-1))


def _is_mask(session: Session, feeds: Mapping[str, np.ndarray], name: str, meaning: int) -> bool:
    """Whether ``name`` leaves out the places where it is not ``meaning``: what is there reaches no output at the others, and
    reaches one when nothing is left out.
    """
    read = np.asarray(feeds[name]) == meaning
    replaced = {key: _replace_places(array, read) for key, array in feeds.items() if key != name}
    others = {key: array for key, array in replaced.items() if array is not None}
    if not others or not read.any(axis=1).all():
        return False
    wide_open = {name: np.full_like(feeds[name], meaning)}
    try:
        masked = [session.run({**feeds, **changed}) for changed in ({}, others)]
        open_runs = [session.run({**feeds, **wide_open, **changed}) for changed in ({}, others)]
    except OnnxslimError:  # inputs that no data hold
        return False
    return agree(masked, read) and not agree(open_runs, read)


def _replace_places(array: np.ndarray, read: np.ndarray) -> np.ndarray | None:
    """``array`` (n, places, …) with what the first read place holds wherever nothing is read; None if that is alike."""
    if np.shape(array)[:2] != read.shape:
        return None
    first = array[np.arange(len(array)), read.argmax(axis=1)]
    unread = ~read.reshape(*read.shape, *[1] * (array.ndim - 2))
    replaced = np.where(unread, first[:, None], array).astype(array.dtype)
    return None if np.array_equal(replaced, array) else replaced


def agree(runs: Sequence[Mapping[str, np.ndarray]], read: np.ndarray | None = None) -> bool:
    """Whether both ``runs`` gave the same at all places that are ``read``, bool (n, places), or everywhere."""
    for name in runs[0]:
        a, b = (run[name] for run in runs)
        if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):  # a sequence, of which nothing is known
            return False
        if a.shape != b.shape or a.dtype.kind not in "fiub":
            return False
        if read is not None and a.shape[:2] == read.shape:
            a, b = a[read], b[read]
        a, b = a.astype(np.float64), b.astype(np.float64)
        if not np.allclose(
            a, b, rtol=0, atol=_TOLERANCE * float(np.abs(a[np.isfinite(a)]).max(initial=0.0)), equal_nan=True
        ):
            return False
    return True
