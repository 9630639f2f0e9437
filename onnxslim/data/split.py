"""Dividing samples into sets that never share: seeded, stratified by label, by whole groups."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.core.quantities import Seed, Share
from onnxslim.data.columns import Array, Indices
from onnxslim.data.samples import Batch, Samples, too_few_samples


def draw_indices(labels: Array | None, total: int, size: int, seed: int) -> Indices:
    """``size`` of ``total`` indices, ascending, drawn by ``seed`` and in proportion to the labels.

    Systematic sampling: the shuffled samples are put in order of class and every (total / size)-th one is taken, so
    each class gets its exact share rounded up or down. Labels that are not one whole number a sample are not
    classes; then it is a plain draw.

    Args:
        labels: One per sample, or None.
        total: How many samples there are.
        size: How many to draw; all when there are fewer.
        seed: Of the draw.
    """
    if size >= total:
        return np.arange(total)
    rng = np.random.default_rng(seed)
    order = rng.permutation(total)
    if labels is not None and labels.ndim == 1 and labels.dtype.kind in "iub":
        # Classes in the order the shuffle met them: which of them gains by rounding is then a matter of the seed too.
        _, first, number = np.unique(labels[order], return_index=True, return_inverse=True)
        order = order[np.argsort(first[number], kind="stable")]
    steps = (np.arange(size) + rng.random()) * (total / size)
    return np.sort(order[np.minimum(steps.astype(np.intp), total - 1)])


def draw_samples(samples: Samples, size: int, seed: int) -> Indices:
    """Indices of about ``size`` of ``samples``, drawn as :func:`draw_indices` does, that fill whole runs.

    Where samples of a run belong together (they share an input), whole runs are drawn.
    """
    size, batch = samples.round_to_runs(size), samples.fixed_batch or 1
    if not any(f.is_shared and not f.is_constant for f in samples.feeds) or batch == 1:
        return draw_indices(samples.labels, len(samples), size, seed)
    runs = draw_indices(None, len(samples) // batch, size // batch, seed)
    return (runs[:, None] * batch + np.arange(batch)).reshape(-1)


def list_timed(samples: Samples, count: int) -> Indices:
    """Indices of ``count`` samples that stand for what a service runs: the first, or of texts steps, at cache lengths from
    the beginnings of texts to their ends, for those are what it runs most.
    """
    times = samples.times
    if samples.layout is None or times is None or not times.any():
        return np.arange(min(count * (samples.fixed_batch or 1), len(samples)))
    steps = np.flatnonzero(times)
    return steps[np.unique(np.linspace(0, len(steps) - 1, min(count, len(steps))).round().astype(np.intp))]


def draw_timed_runs(samples: Samples, count: int, batch_size: int = 1) -> list[Batch]:
    """At most ``count`` runs of what :func:`list_timed` names, ``batch_size`` samples each where the model leaves that free.

    All are of one size, the largest that these samples fill: the rest of a division would pass for one more run, and samples
    of different shapes share none. Fewer samples than a batch are repeated, for time does not ask which they are.
    """
    size = 1 if samples.fixed_batch else batch_size
    timed = list_timed(samples, count * size)
    if len(timed) < size:
        timed = np.resize(timed, size)
    runs = list(itertools.islice(samples.take(timed).batches(size), count))
    largest = max(len(run.indices) for run in runs)
    return [run for run in runs if len(run.indices) == largest]


def list_prompts(samples: Samples, count: int) -> Indices:
    """Indices of the first ``count`` runs that read the prompt of a text; of other data none."""
    times = samples.times
    if samples.layout is None or times is None:
        return np.zeros(0, np.intp)
    return np.flatnonzero(times == 0)[:count]


def hold_back(samples: Samples, share: float, seed: int = 0) -> tuple[Samples, Samples]:
    """Split into ``(rest, held)`` where ``held`` is a seeded share, stratified by label.

    Samples of one group, the steps of a sequence, and samples (or sequences) that are identical stay on one side, so
    the two sets are disjoint in content; the share is one of these units. Of a single sequence the end is held back.
    The order of the samples is kept.

    Raises:
        UsageError: ``share`` is not between 0 and 1, or the samples do not fill two of the model's batches.
        InvalidDataError: Fewer than two units.
    """
    if not 0 < share < 1:
        raise UsageError(f"cannot hold back a share of {share}: expected a number between 0 and 1")
    units = _assign_units(samples)
    total = int(units.max()) + 1
    if total < 2 and samples.sequences is not None and len(samples) > 1:
        return _hold_back_end(samples, share)
    if total < 2:
        raise InvalidDataError(
            f"{samples.source}: nothing can be held back from samples that are all the same or of one group",
            hint="give a second set with --eval-data",
        )
    first = np.unique(units, return_index=True)[1]
    labels = None if samples.labels is None else samples.labels[first]
    held = _draw_units(units, labels, share, seed, samples.fixed_batch or 1)
    if held is None:
        raise too_few_samples(
            samples.source, len(samples), 2 * (samples.fixed_batch or 1), " different ones to hold a batch back"
        )
    return (
        samples.take(np.flatnonzero(~held), source=f"{samples.source}, less a held-back share of {share:.0%}"),
        samples.take(np.flatnonzero(held), source=f"{samples.source}, a held-back share of {share:.0%} (seed {seed})"),
    )


def _draw_units(units: Indices, labels: Array | None, share: float, seed: int, batch: int) -> Array | None:
    """Shape (n,), bool: the samples of about ``share`` of the units, a whole run at least on both sides; None where that
    cannot be. Units of one sample fill whole runs on both sides.
    """
    total, sizes = int(units.max()) + 1, np.bincount(units)
    wanted = min(max(round(share * total), 1), total - 1)
    single = batch > 1 and int(sizes.max()) == 1
    counts = [n for n in range(1, total) if not single or n % batch == 0]
    for count in sorted(counts, key=lambda n: abs(n - wanted)) if batch > 1 else [wanted]:
        held: Array = np.isin(units, draw_indices(labels, total, count, seed))
        if min(held.sum(), (~held).sum()) >= batch:
            return held
    return None


def _hold_back_end(samples: Samples, share: float) -> tuple[Samples, Samples]:
    """A single sequence cut in time; the second part begins with the state that the first one left."""
    cut = len(samples) - min(max(round(share * len(samples)), 1), len(samples) - 1)
    return (
        samples.take(np.arange(cut), source=f"{samples.source}, its first {cut} steps"),
        samples.take(np.arange(cut, len(samples)), source=f"{samples.source}, from step {cut} on"),
    )


@dataclass(frozen=True)
class HeldPart:
    """One side of what :func:`hold_back` makes of samples: enough to take it again.

    Attributes:
        share: Which was held back.
        seed: Of the draw.
        is_held: It is that share, and not the rest.
    """

    share: Share
    seed: Seed
    is_held: bool

    def take(self, samples: Samples) -> Samples:
        """The part of ``samples``.

        Raises:
            InvalidDataError: As :func:`hold_back` raises, or UsageError.
        """
        rest, held = hold_back(samples, self.share, self.seed)
        return held if self.is_held else rest


def check_disjoint(a: Samples, b: Samples) -> None:
    """Raise when a sample of ``a`` is in ``b`` as well: a figure measured on fitted data proves nothing.

    Raises:
        InvalidDataError: Names the first few pairs by index and says how many there are.
    """
    positions = {digest: index for index, digest in reversed(list(enumerate(_digest_contents(a)[0])))}
    pairs = [(positions[digest], index) for index, digest in enumerate(_digest_contents(b)[0]) if digest in positions]
    if pairs:
        shown = ", ".join(f"{i} = {j}" for i, j in pairs[:3]) + ", …" * (len(pairs) > 3)
        noun = "samples" if b.sequences is None else "sequences"
        raise InvalidDataError(
            f"{len(pairs)} {noun} of {b.source} are in {a.source} as well (by index: {shown})",
            hint="what a model is judged on must not be what it was fitted on; remove them from one of the two",
        )


def _assign_units(samples: Samples) -> Indices:
    """A number per sample, 0 … units - 1, equal for samples that must stay together."""
    digests, owners = _digest_contents(samples)
    content = _number_keys(digests)[owners]
    if samples.groups is None:
        return content
    group = _number_keys(samples.groups.tolist())
    # Identical samples in two groups tie the groups together: components of the graph content - group.
    contents, nodes = int(content.max()) + 1, int(content.max() + group.max()) + 2
    edges = scipy.sparse.coo_array((np.ones(len(samples)), (content, contents + group)), shape=(nodes, nodes))
    numbers = scipy.sparse.csgraph.connected_components(edges, directed=False)[1]
    return np.asarray(numbers, dtype=np.intp)[content]


def _digest_contents(samples: Samples) -> tuple[list[bytes], Indices]:
    """A digest of everything that is alike or not as a whole, a sample or a sequence, and which one each sample is in.

    Single steps of different recordings may well be the same (silence), and prove nothing.
    """
    digests = samples.digests()
    if (sequences := samples.sequences) is None:
        return digests, np.arange(len(samples))
    sequence_numbers = _number_keys(sequences.tolist())
    hashers = [hashlib.blake2b(digest_size=16) for _ in range(int(sequence_numbers.max()) + 1)]
    for digest, number in zip(digests, sequence_numbers.tolist(), strict=True):
        hashers[number].update(digest)
    return [hasher.digest() for hasher in hashers], sequence_numbers


def _number_keys(keys: Sequence[Hashable]) -> Indices:
    """Each key as a number, by first appearance."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)
