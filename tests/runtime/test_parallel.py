"""Many inputs through one model, in order."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.runtime import parallel
from onnxslim.runtime.session import Session


def test_parallel_runs_come_back_in_order(digits: ir.Model) -> None:
    feeds = [{"image": np.full((1, 1, 8, 8), i / 20, np.float32)} for i in range(20)]
    expected = [Session(digits).run(feed) for feed in feeds]
    found = list(parallel.run_all(digits, feeds, lambda i, outputs: (i, outputs)))
    assert [i for i, _ in found] == list(range(20))
    for (_, got), want in zip(found, expected, strict=True):
        for name in want:
            np.testing.assert_allclose(got[name], want[name], atol=1e-5)
