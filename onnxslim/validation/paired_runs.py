"""Run an original and what is compared with it side by side, batch by batch, and say how large the batches may be.

Of sequences each model carries its own state from step to step, so that what it gets wrong comes back to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.activations.working_set import plan_batch_size
from onnxslim.data.samples import Samples
from onnxslim.runtime.stateful_session import StatefulSession
from onnxslim.validation.evaluation_accumulator import OutputValues

#: Samples at a time when nobody says: at most so many, inputs of at most so many bytes, and no more than run in the memory
#: that is planned for a run, with so many copies of the outputs: what metrics make of them, in double precision.
MAX_BATCH_SAMPLES, MAX_BATCH_BYTES, OUTPUT_COPIES = 64, 4 << 20, 4


def run_batches(
    samples: Samples, original: StatefulSession | None, results: Mapping[str, StatefulSession], batch_size: int
) -> Iterator[tuple[range, OutputValues | None, dict[str, OutputValues]]]:
    """The outputs of the original and of each result, batch by batch; those of single steps some at a time."""
    output_names = None if original is None else original.outputs
    continues = samples.continues_previous
    pending: list[tuple[OutputValues | None, dict[str, OutputValues]]] = []
    for batch in samples.batches(1 if samples.state else batch_size):
        start = batch.indices.start
        continues_sequence = bool(samples.state) and bool(continues[start])
        original_outputs = None if original is None else original.run(batch, continues=continues_sequence)
        result_outputs: dict[str, OutputValues] = {
            # the original judged as itself need not run twice
            name: original_outputs
            if original_outputs is not None and result is original
            else result.run(batch, output_names, continues=continues_sequence)
            for name, result in results.items()
        }
        if not samples.state:
            yield batch.indices, original_outputs, result_outputs
            continue
        pending.append((original_outputs, result_outputs))
        if len(pending) == MAX_BATCH_SAMPLES or start + 1 == len(samples):
            yield from _merge_steps(start + 1, pending)
            pending = []


def _merge_steps(
    stop: int, steps: Sequence[tuple[OutputValues | None, dict[str, OutputValues]]]
) -> Iterator[tuple[range, OutputValues | None, dict[str, OutputValues]]]:
    """The outputs of steps that were run one by one as those of one batch, which ends before sample ``stop``."""
    start = stop - len(steps)
    all_outputs = [
        outputs for original, results in steps for outputs in (original, *results.values()) if outputs is not None
    ]
    shapes = {
        tuple((name, np.shape(v)) if isinstance(v, np.ndarray) else None for name, v in o.items()) for o in all_outputs
    }
    if len(shapes) > 1 or None in next(iter(shapes)):
        yield from ((range(start + i, start + i + 1), *step) for i, step in enumerate(steps))
        return
    original_steps = [original_steps for original_steps, _ in steps if original_steps is not None]
    result_steps = {name: _stack_outputs([step[name] for _, step in steps]) for name in steps[0][1]}
    yield range(start, stop), _stack_outputs(original_steps) if original_steps else None, result_steps


def _stack_outputs(steps: Sequence[OutputValues]) -> OutputValues:
    """Outputs with a row a step: along their own first axis where that counts samples, else along a new one."""
    return {
        name: (np.concatenate if value.ndim and len(value) == 1 else np.stack)([step[name] for step in steps])
        for name, value in steps[0].items()
    }


def choose_batch_size(model: ir.Model, session: StatefulSession, samples: Samples) -> int:
    """As many samples as fit into a run of ``model``: what is judged beside it is about as large inside."""
    sample_bytes = sum(4 * math.prod(shape or ()) for shape in samples.shapes.values())
    by_inputs = max(1, min(MAX_BATCH_SAMPLES, MAX_BATCH_BYTES // max(sample_bytes, 1)))
    first = next(iter(samples.batches(1)), None)
    if first is None or by_inputs == 1:
        return 1
    output_bytes = sum(value.nbytes for value in session.run(first).values() if isinstance(value, np.ndarray))
    bytes_per_sample = OUTPUT_COPIES * output_bytes // max(len(first.indices), 1)
    return plan_batch_size(model, samples, by_inputs, bytes_per_sample=bytes_per_sample)
