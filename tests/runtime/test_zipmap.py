"""What a ZipMap gives is the tensor behind it."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session
from onnxslim.runtime.zipmap import find_zipmap_outputs, note_zipmaps, stack_scores
from tests.support.tabular_models import classifier, table

#: Sorted and not: a dictionary comes back in the order of its keys, the tensor is in that of the classes.
LABELS = ([0, 1, 2], [7, -1, 3], ["a", "b", "c"], ["low", "high"])


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_a_session_gives_the_tensor_behind_a_zipmap(labels: list[int] | list[str], rows: int) -> None:
    plain = Session(model_file.load(classifier(labels, zipmap=False))).run(table(rows))
    mapped = Session(model_file.load(classifier(labels))).run(table(rows))
    assert mapped["probabilities"].dtype == np.float32
    assert np.array_equal(mapped["probabilities"], plain["probabilities"])
    assert np.array_equal(mapped["label"], plain["label"])


def test_a_zipmap_is_found_behind_what_passes_it_on() -> None:
    proto = classifier(["a", "b"])
    proto.graph.node[-1].output[0] = "inner"
    proto.graph.node.append(helper.make_node("Identity", ["inner"], ["probabilities"]))
    model = model_file.load(proto)
    assert {name: list(labels) for name, labels in find_zipmap_outputs(model).items()} == {"probabilities": ["a", "b"]}
    assert note_zipmaps(model) == ["output probabilities is a ZipMap's: what is judged is the tensor behind it"]
    assert not find_zipmap_outputs(model_file.load(classifier(["a", "b"], zipmap=False)))


def test_rows_are_stacked_in_the_order_of_the_classes() -> None:
    assert stack_scores([{1: 0.25, 2: 0.75}], [2, 1]).tolist() == [[0.75, 0.25]]
    assert stack_scores([], [2, 1]).shape == (0, 2)
