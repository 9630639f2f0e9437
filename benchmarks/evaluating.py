"""What evaluating costs beside the inferences themselves, and whether its memory grows with the number of samples.

    python benchmarks/evaluating.py MODEL DATA [MODEL DATA ...]

Every model is its own reference, so an evaluation is two inferences a sample. In turn, round after round, the same batches
are run by bare sessions and by ``evaluate``, all of them and the first one alone: the difference is what the samples cost
without what starting costs. The table shows the median over the rounds, in processor time, because a machine's other work is
none of either. Memory is the peak that evaluating the samples four times over adds to evaluating them once.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session
from onnxslim.validation.evaluation import _get_batch_size, evaluate


def bare(model: object, samples: Samples) -> float:
    """Processor seconds of two inferences a sample, data read as evaluation reads them."""
    loaded = model_file.load(model)  # type: ignore[arg-type]
    sessions = [Session(loaded), Session(loaded)]
    batches = samples.batches(_get_batch_size(samples))
    spent = 0.0
    for batch in batches:
        started = time.process_time()
        for session in sessions:
            session.run(batch)
        spent += time.process_time() - started
    return spent


def whole(model: object, samples: Samples) -> float:
    """Processor seconds of an evaluation."""
    started = time.process_time()
    evaluate(model, samples, reference=model)  # type: ignore[arg-type]
    return time.process_time() - started


def peak() -> float:
    """Peak resident megabytes of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pairs", nargs="+", metavar="MODEL DATA")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-samples", type=int, default=256)
    given = parser.parse_args()
    print("| model | samples | sessions, s | evaluating adds | four times the samples add |", "|---" * 5 + "|", sep="\n")
    for model, data in zip(given.pairs[::2], given.pairs[1::2], strict=True):
        samples = open_samples(data, model_file.load(model), max_samples=given.max_samples)
        first = samples.take(np.arange(min(_get_batch_size(samples), len(samples) // 2)))
        times = np.array([[how(model, samples) - how(model, first) for how in (bare, whole)] for _ in range(given.rounds)])
        before = peak()
        evaluate(model, samples.take(np.tile(np.arange(len(samples)), 4)), reference=model)
        added = np.median(times[:, 1] / times[:, 0] - 1)
        print(
            f"| {model.rsplit('/', 1)[-1]} | {len(samples)} | {np.median(times[:, 0]):.2f} | {added:.1%} "
            f"| {peak() - before:.1f} MB |"
        )


if __name__ == "__main__":
    main()
