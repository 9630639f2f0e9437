"""Run a model on some samples to see what its outputs are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import OnnxslimError, UnsupportedError, UsageError
from onnxslim.data.samples import Samples
from onnxslim.graph.cost import compute_cost
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.runtime.stateful_session import StatefulSession
from onnxslim.validation.output_kinds.graph_ending import find_ending
from onnxslim.validation.output_kinds.observation import ModelObservation, OutputObservation
from onnxslim.validation.output_rows import NoRowsError, as_rows

#: Samples that are looked at: as many as so many multiply-accumulates allow, within bounds, and so many bytes of outputs.
_MIN_SAMPLES, _MAX_SAMPLES, _MAX_MACS, _MAX_BYTES = 8, 64, 2 * 10**10, 48 << 20
#: Of sequences, steps are looked at, of the beginnings of so many.
_MIN_STEPS, _SEQUENCES = 256, 4


def observe(
    model: ir.Model,
    samples: Samples,
    config: SessionConfig | None = None,
    *,
    labels: np.ndarray | None = None,
    dims: Mapping[str, int] | None = None,
) -> ModelObservation:
    """The outputs of ``model`` on some of ``samples``, spread over all of them, or, of sequences, the first steps.

    How many is decided by the model's size and not by a clock: what an output is taken for is the same on every machine.

    Args:
        model: The original.
        samples: The data.
        config: Where it runs.
        labels: Of the data that will judge, or None.
        dims: Sizes of free dimensions, for the model's cost.

    Raises:
        UnsupportedError: No output is a tensor.
        UsageError: None has a row a sample, in batches of the size that the model fixes.
    """
    count = int(np.clip(_MAX_MACS // max(compute_cost(model, dims).macs, 1), _MIN_SAMPLES, _MAX_SAMPLES))
    session = StatefulSession(Session(model, config), samples.state)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in session.outputs}
    inputs: dict[str, np.ndarray] = {}
    without_rows: dict[str, OnnxslimError] = {}
    continues, held = samples.continues_previous, 0
    chosen = _spread(samples, count)
    start = 0
    for batch in samples.take(chosen).batches(1):
        n = len(batch.indices)
        follows = bool(samples.state) and bool(continues[chosen[start]])
        start += n
        outputs = session.run(batch, continues=follows)
        inputs = inputs or {name: np.asarray(value) for name, value in batch.items()}
        for name, value in outputs.items():
            if isinstance(value, np.ndarray) and name not in without_rows:
                try:
                    rows.setdefault(name, []).extend(np.asarray(row) for row in as_rows(name, value, n))
                except NoRowsError as error:
                    hint = f"name another with --output; its batch is fixed at {n}: export it with 1, or a free one"
                    without_rows[name] = UsageError(error.message, hint=hint)
                held += value.nbytes
        if held > _MAX_BYTES and start >= 4:
            break
    ways = {name: session.members.get(name, [()]) for name in session.outputs}
    varying = {member for name in ways if len(ways[name]) > 1 for way in ways[name] for member in way}
    found = {
        name: OutputObservation(name, tuple(of), find_ending(model, name))
        for name, of in rows.items()
        if of and name not in without_rows and name not in varying
    }
    refused = {name: _refuse(name, of) for name, of in ways.items() if len(of) > 1 or not of[0]} | without_rows
    if not found:
        raise next(iter(refused.values()))
    return ModelObservation(found, inputs, labels, samples.state, refused)


def _refuse(name: str, ways: Sequence[Sequence[str]]) -> UnsupportedError:
    """Why an output that came in these ways, as these tensors, is not judged."""
    if len(ways) > 1:
        return UnsupportedError(
            f"output {name} has {len(ways[0])} members in one sample and {len(ways[1])} in another",
            hint="name a tensor with --output",
        )
    return UnsupportedError(
        f"output {name} is a sequence or a map (ZipMap), not a tensor",
        hint="name a tensor with --output, or export without ZipMap (skl2onnx: options={'zipmap': False})",
    )


def _spread(samples: Samples, count: int) -> Sequence[int]:
    """Indices of about ``count`` samples in whole runs."""
    if samples.sequences is not None:
        return _take_beginnings(samples.sequences, max(count, _MIN_STEPS))
    total = samples.round_to_runs(count)
    if total >= len(samples):
        return range(total)
    size = samples.fixed_batch or 1
    runs = np.unique(np.linspace(0, samples.run_count - 1, total // size).astype(int))
    return [int(run * size + place) for run in runs for place in range(size)]


def _take_beginnings(sequences: np.ndarray, count: int) -> list[int]:
    """Indices of the first steps of a few of the ``sequences``, shape (n,), about ``count`` in all."""
    starts = np.flatnonzero(np.concatenate([[True], sequences[1:] != sequences[:-1]]))
    chosen = starts[np.unique(np.linspace(0, len(starts) - 1, min(_SEQUENCES, len(starts))).astype(int))]
    ends = np.append(starts[1:], len(sequences))[np.searchsorted(starts, chosen)]
    length = max(1, count // len(chosen))
    return [
        index
        for start, end in zip(chosen.tolist(), ends.tolist(), strict=True)
        for index in range(start, min(end, start + length))
    ]
