"""Tables that an update hardly reads are left as they are."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.data.sources import open_samples
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.step import recover
from tests.support import torch_graphs as nets
from tests.support.onnx_text import build, floats


@pytest.mark.parametrize(("rows", "is_frozen"), [(400, True), (30, False)])
def test_a_table_that_an_update_reads_little_of_is_frozen_and_said(rows: int, is_frozen: bool) -> None:
    body = "e = Gather (table, ids) u = MatMul (e, w) h = Relu (u) y = MatMul (h, v)"
    weights = {"table": floats(rows, 8), "w": floats(8, 16), "v": floats(16, 4)}
    teacher = build(f"(int64[n,6] ids) => (float[n,6,4] y) {{ {body} }}", **weights)
    samples = open_samples({"ids": np.random.default_rng(0).integers(0, rows, (120, 6))}, teacher)
    student = nets.damaged(teacher, 0.3)
    result, report = recover(student, teacher, samples, RecoverOptions(steps=20, lr=1e-2))
    before, after = nets.arrays(student), nets.arrays(result)
    assert np.array_equal(before["table"], after["table"]) == is_frozen
    assert not np.array_equal(before["w"], after["w"])
    assert [skipped.node for skipped in report.skipped] == ["table"] * is_frozen
    assert report.details["after"]["error"] < report.details["before"]["error"]


def test_tables_learn_where_there_is_nothing_else() -> None:
    teacher = build("(int64[n,2] ids) => (float[n,2,8] y) { y = Gather (table, ids) }", table=floats(400, 8))
    samples = open_samples({"ids": np.random.default_rng(0).integers(0, 400, (120, 2))}, teacher)
    _, report = recover(nets.damaged(teacher, 0.3), teacher, samples, RecoverOptions(steps=20, lr=1e-2))
    assert report.skipped == [] or report.skipped[0].node != "table"
