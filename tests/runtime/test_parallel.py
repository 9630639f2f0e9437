"""Many inputs through one model, in order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx_ir as ir
import pytest

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


@pytest.mark.parametrize(("grown", "expected"), [(0, 16), (10**6, 16), (10**8, 3), (10**10, 1)])
def test_as_many_run_side_by_side_as_fit_into_the_memory_that_is_planned(
    digits: ir.Model, grown: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident, counts = iter((5 * 10**8, 5 * 10**8 + grown)), list[int]()

    class CountedPool(ThreadPoolExecutor):
        def __init__(self, count: int) -> None:
            counts.append(count)
            super().__init__(count)

    monkeypatch.setattr(parallel, "count_workers", lambda config: 16)
    monkeypatch.setattr(parallel, "read_resident_bytes", lambda: next(resident))
    monkeypatch.setattr(parallel, "ThreadPoolExecutor", CountedPool)
    feeds = [{"image": np.full((1, 1, 8, 8), i / 20, np.float32)} for i in range(40)]
    assert list(parallel.run_all(digits, feeds, lambda i, outputs: i)) == list(range(40))
    assert counts == [expected]
