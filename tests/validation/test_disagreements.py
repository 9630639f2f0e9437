"""The samples whose answer is another one now."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onnxslim.data.readers.npz import write_npz
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.runtime.session import Session
from onnxslim.validation.comparison import compare
from onnxslim.validation.disagreements import DisagreementCollector
from onnxslim.validation.output_kinds.kind import OutputKind
from tests.support.node_graphs import chain


def test_samples_that_changed_their_answer_are_those_of_a_plain_loop_and_come_back_as_data(tmp_path: Path) -> None:
    model, other = chain(), chain({2: 0.3})
    x = np.random.default_rng(3).normal(size=(50, 8)).astype(np.float32)
    labels = np.arange(50)
    samples = open_samples({"x": x, "labels": labels}, model)

    def collect(of: Samples) -> DisagreementCollector:
        found = DisagreementCollector(OutputKind(("y",), "class scores", ("confidence",), ""))
        for batch in of.batches(7):
            found.add(of, batch, Session(model).run(batch), Session(other).run(batch))
        return found

    found, answers = collect(samples), []
    for which in (model, other):
        out = x
        for i in range(6):
            out = out @ which.graph.initializers[f"w{i}"].const_value.numpy()
        answers.append(out.argmax(axis=1))
    assert found.indices == np.flatnonzero(answers[0] != answers[1]).tolist()
    assert 0 < len(found.indices) < 50
    write_npz(tmp_path / "c.npz", found.arrays(labels))
    again = open_samples(tmp_path / "c.npz", model)
    assert again.labels is not None
    assert again.labels.tolist() == found.indices
    assert collect(again).indices == list(range(len(found.indices)))


def test_without_classes_a_sample_has_changed_when_its_output_moved_by_a_tenth() -> None:
    model, other = chain(length=1), chain({0: 0.05}, length=1)
    x = np.random.default_rng(3).normal(size=(4, 8)).astype(np.float32)
    changed = DisagreementCollector(OutputKind(("y",), "numbers", ("variance",), ""))
    batch = next(iter(open_samples(x, model).batches(4)))
    samples = open_samples(x, model)
    y = x[:, :, None]
    moved = y.copy()
    moved[1] *= 1.2
    moved[2] *= 1.05
    changed.add(samples, batch, {"y": y}, {"y": moved})
    assert changed.indices == [1]
    assert not compare(model, other, samples).equal


def test_of_a_single_probability_the_answer_is_whether_it_is_at_least_a_half() -> None:
    model = chain(length=1)
    samples = open_samples(np.zeros((4, 8), np.float32), model)
    changed = DisagreementCollector(OutputKind(("y",), "numbers", ("variance",), ""))
    batch = next(iter(samples.batches(4)))
    changed.add(
        samples, batch, {"y": np.array([[0.9], [0.1], [0.6], [0.001]])}, {"y": np.array([[0.6], [0.4], [0.4], [0.01]])}
    )
    assert changed.indices == [2]
