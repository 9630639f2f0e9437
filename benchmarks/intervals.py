"""Whether the interval of a latency ratio holds the long-run ratio, on this machine, as noisy as it is.

    python benchmarks/intervals.py A.onnx B.onnx [--repeats 10]

The same pair is timed ``--repeats`` times as ``onnxslim benchmark`` does it. The long-run ratio is the median over the
rounds of all repeats together and of as many rounds between them, so that it is of the same hours. The 95 % interval
should hold it at least 9 times in 10.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np

from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session
from onnxslim.runtime.timing import interleave
from onnxslim.validation.statistics import ratio_interval


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs=2)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    loaded = [model_file.load(path) for path in given.models]
    feeds = list(itertools.islice(open_samples("random", loaded[0], max_samples=8).batches(1), 8))
    found, every = [], []
    for _ in range(given.repeats):
        for counts in (True, False):
            sessions = {name: Session(model) for name, model in zip("ab", loaded, strict=True)}
            rounds = interleave(sessions, feeds, seconds=given.seconds).rounds
            every.append(rounds["a"] / rounds["b"])
            if counts:
                found.append((float(np.median(every[-1])), *ratio_interval(rounds["a"], rounds["b"])))
    truth = float(np.median(np.concatenate(every)))
    held = sum(low <= truth <= high for _, low, high in found)
    print(f"long-run ratio {truth:.3f} over {sum(map(len, every))} rounds")
    for ratio, low, high in found:
        print(f"  {ratio:.3f} [{low:.3f}, {high:.3f}]{'' if low <= truth <= high else '  misses'}")
    print(f"held {held} of {given.repeats} times")


if __name__ == "__main__":
    main()
