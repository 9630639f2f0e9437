"""The detector of drawn pictures: its truth is what was drawn, and both exports are one net."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from judging.drawn_boxes import decode

torch = pytest.importorskip("torch")
import detector  # noqa: E402


def test_a_seed_draws_the_same_pictures_and_boxes_that_lie_in_them() -> None:
    images, boxes = detector.draw_pictures(6, 3)
    again, _ = detector.draw_pictures(6, 3)
    np.testing.assert_array_equal(images, again)
    assert images.shape == (6, 3, detector.SIZE, detector.SIZE)
    assert 0 <= images.min() < images.max() <= 1
    drawn = boxes[boxes[..., 4] >= 0]
    assert len(drawn) >= 6
    assert (drawn[:, :2] < drawn[:, 2:4]).all()
    assert ((drawn[:, :4] >= 0) & (drawn[:, :4] <= detector.SIZE)).all()


def test_cells_take_the_box_that_they_lie_in_the_middle_of_at_the_level_of_its_size() -> None:
    net = detector.Fcos()
    boxes = torch.tensor([[[20.0, 20.0, 44.0, 44.0, 2.0], [60.0, 60.0, 150.0, 150.0, 4.0], [0, 0, 0, 0, -1]]])
    kind, corners = detector.assign(boxes, net)
    for label, row, stride in ((2.0, 0, 8), (4.0, 1, 16)):
        cells = kind[0] == label
        assert cells.any()
        assert (net.strides[cells] == stride).all()
        assert (corners[0][cells] == boxes[0, row, :4]).all()
        distance = (net.centers[cells] - (boxes[0, row, :2] + boxes[0, row, 2:4]) / 2).abs()
        assert (distance <= 1.5 * stride).all()
    assert set(kind.unique().tolist()) == {-1.0, 2.0, 4.0}


def test_both_exports_find_the_same_boxes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = detector.Fcos().eval()
    images, _ = detector.draw_pictures(1, 0)
    found = []
    for decodes, names in detector.FORMS.values():
        net.decodes = decodes
        detector.export(net, tmp_path / "fcos.onnx", list(names))
        session = ort.InferenceSession(tmp_path / "fcos.onnx", providers=["CPUExecutionProvider"])
        found.append(decode(dict(zip(names, session.run(None, {"images": images}), strict=True))))
    for decoded, raw in zip(*found, strict=True):
        np.testing.assert_allclose(decoded, raw, rtol=1e-4, atol=1e-3)
