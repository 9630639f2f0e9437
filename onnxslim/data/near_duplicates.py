"""Samples of two sets that are nearly the same: a photograph saved again, the next frame of a film."""

from __future__ import annotations

import numpy as np
import scipy

from onnxslim.data.columns import Array
from onnxslim.data.samples import Samples

#: Nearer than this share of what two samples usually differ by is nearly the same. 256 photographs saved again as JPEG
#: of quality 50 differed by at most 0.13; different samples by at least 0.38 (these), 0.20 (CIFAR-10), 0.16 (digits).
MAX_RELATIVE_DISTANCE = 0.15
#: Samples of fewer numbers are tables, where rows are close by nature.
_MIN_SAMPLE_ELEMENTS = 64
_SKETCH_BUCKETS = 256
_DISTANCE_BLOCK_ROWS = 512


def find_near_duplicates(a: Samples, b: Samples) -> str | None:
    """A one-line warning when samples of ``b`` are nearly samples of ``a``, else None.

    Compared are the float inputs, by Euclidean distance relative to the median distance between samples of the two
    sets. Distances are estimated from a count sketch (Charikar, Chen and Farach-Colton 2002) of 256 numbers a
    sample, right to about 5 %, so one pass over each set is enough. Identical samples are the business of
    :func:`~onnxslim.data.split.check_disjoint`.
    """
    if a.sequences is not None:
        return None  # steps are alike by nature; whole sequences that are the same are found without this
    pairs: list[tuple[int, int]] = []
    compared = []
    for x, y in zip(_sketch_samples(a), _sketch_samples(b), strict=True):
        some_x, some_y = (rows[:: -(-len(rows) // _DISTANCE_BLOCK_ROWS)] for rows in (x, y))
        typical_distance = float(np.median(scipy.spatial.distance.cdist(some_x, some_y)))
        if typical_distance > 0:
            compared.append((x, y, MAX_RELATIVE_DISTANCE * typical_distance))
    for start in range(0, len(a) if compared else 0, _DISTANCE_BLOCK_ROWS):
        is_near = [
            scipy.spatial.distance.cdist(x[start : start + _DISTANCE_BLOCK_ROWS], y) < limit for x, y, limit in compared
        ]
        pairs += [(start + i, j) for i, j in np.argwhere(np.logical_and.reduce(is_near)).tolist()]
    if not pairs:
        return None
    shown = ", ".join(f"{i} ~ {j}" for i, j in pairs[:3]) + ", …" * (len(pairs) > 3)
    return (
        f"{len({j for _, j in pairs})} of {len(b)} samples of {b.source} are nearly the same as samples of {a.source} "
        f"(by index: {shown}): a figure measured on them flatters"
    )


def _sketch_samples(samples: Samples) -> list[Array]:
    """A sketch of every sample, float32 (samples, buckets), for each float input that is worth one."""
    sketched_inputs = [
        i for i, f in enumerate(samples.feeds) if f.input.number_kind == "floats" and f.sample_size >= _MIN_SAMPLE_ELEMENTS
    ]
    hashes = [_hash_elements(samples.feeds[i].sample_size) for i in sketched_inputs]
    sketches: list[list[Array]] = [[] for _ in sketched_inputs]
    for parts in samples.read_rows(samples.read_size):
        for i, (bucket, sign), input_sketches in zip(sketched_inputs, hashes, sketches, strict=True):
            for row in parts[i]:
                # A shorter sample is compared as if it went on with zeros.
                flat = np.asarray(row, np.float64).ravel()
                sketch = np.bincount(bucket[: flat.size], flat * sign[: flat.size], _SKETCH_BUCKETS)
                input_sketches.append(sketch.astype(np.float32))
    return [np.stack(rows) for rows in sketches]


def _hash_elements(size: int) -> tuple[Array, Array]:
    """The bucket and the sign of each element; a longer one begins like a shorter one."""
    bits = np.frombuffer(np.random.default_rng(0).bytes(2 * size), np.uint8).reshape(size, 2)
    return bits[:, 0].astype(np.intp), np.where(bits[:, 1] & 1, 1.0, -1.0)
