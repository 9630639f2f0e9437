"""What a worker makes of requests that no search would send."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from onnxslim.runtime.devices.messages import ProtocolError
from onnxslim.runtime.devices.visit import Visit
from tests.support.digits import MODEL

CONFIG = {"provider": "cpu", "threads": 1}


@pytest.fixture
def visit(tmp_path: Path) -> Visit:
    one, _ = socket.socketpair()
    return Visit(one, str(tmp_path))


@pytest.mark.parametrize(
    "request_header",
    [
        {},
        {"operation": "no such"},
        {"operation": "run", "session": 7, "feeds": [], "outputs": None},
        {"operation": "open"},
        {"operation": "open", "model": "../../etc/passwd", "config": CONFIG},
        {"operation": "open", "model": "0" * 64, "config": {"no": "such"}},
        {"operation": "send_model"},
        {"operation": "interleave", "sessions": 3},
    ],
)
def test_what_cannot_be_read_ends_the_visit(visit: Visit, request_header: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        visit.answer(request_header, ())


def test_a_model_is_kept_under_its_own_hash(visit: Visit, tmp_path: Path) -> None:
    content = MODEL.read_bytes()
    assert visit.answer({"operation": "send_model", "model": "whatever"}, (content,)) == ({}, ())
    (kept,) = tmp_path.iterdir()
    opened, _ = visit.answer({"operation": "open", "model": kept.name, "config": CONFIG, "try_first": True}, ())
    assert opened["inputs"] == ["image"]
    refused, _ = visit.answer({"operation": "open", "model": "0" * 64, "config": CONFIG}, ())
    assert refused["error"]["kind"] == "limit"  # no such file
