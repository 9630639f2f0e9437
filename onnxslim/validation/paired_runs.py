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
#: Steps of sequences wait for each other while what they gave out is no more than this.
MAX_STEP_BYTES = 16 << 20


def run_batches(
    samples: Samples, original: StatefulSession | None, results: Mapping[str, StatefulSession], batch_size: int
) -> Iterator[tuple[range, OutputValues | None, dict[str, OutputValues]]]:
    """The outputs of the original and of each result, batch by batch; those of single steps some at a time."""
    output_names = None if original is None else original.outputs
    continues = samples.continues_previous
    pending: list[_Step] = []
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
        step = _Step(original_outputs, result_outputs)
        if pending and not step.can_join(pending):
            yield _merge_steps(start, pending)
            pending = []
        pending.append(step)
    if pending:
        yield _merge_steps(len(samples), pending)


class _Step:
    """What the original and each result gave out at one step of a sequence."""

    def __init__(self, original: OutputValues | None, results: dict[str, OutputValues]) -> None:
        self.original, self.results = original, results
        values = [v for outputs in (original or {}, *results.values()) for v in outputs.values()]
        self.nbytes = sum(value.nbytes for value in values if isinstance(value, np.ndarray))
        #: None where something is no tensor.
        self.shapes = [v.shape for v in values] if all(isinstance(value, np.ndarray) for value in values) else None

    def can_join(self, steps: Sequence[_Step]) -> bool:
        """Whether this and ``steps`` are to be one batch: caches that grow are let go of at once."""
        is_alike = self.shapes is not None and self.shapes == steps[0].shapes
        held = sum(step.nbytes for step in steps)
        return is_alike and len(steps) < MAX_BATCH_SAMPLES and held + self.nbytes <= MAX_STEP_BYTES


def _merge_steps(stop: int, steps: Sequence[_Step]) -> tuple[range, OutputValues | None, dict[str, OutputValues]]:
    """The outputs of steps that were run one by one as those of one batch, which ends before sample ``stop``."""
    first = steps[0]
    if len(steps) == 1:
        return range(stop - 1, stop), first.original, first.results
    original_steps = [step.original for step in steps if step.original is not None]
    result_steps = {name: _stack_outputs([step.results[name] for step in steps]) for name in first.results}
    return range(stop - len(steps), stop), _stack_outputs(original_steps) if original_steps else None, result_steps


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
