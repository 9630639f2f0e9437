"""What a worker makes of requests that no search would send."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import pytest

from onnxslim.runtime.devices import visit as visiting
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


@pytest.mark.parametrize("try_first", [False, True])
@pytest.mark.parametrize(
    "asked",
    [
        {"custom_ops": ["evil.so"]},
        {"session_options": {"session.collect_node_memory_stats_to_file": "/tmp/theirs"}},
        {"provider": "tensorrt", "provider_options": {"trt_extra_plugin_lib_paths": "evil.so"}},
    ],
)
def test_no_code_is_loaded_and_no_file_is_written_for_others(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, try_first: bool, asked: dict[str, object]
) -> None:
    monkeypatch.setattr(visiting, "ask_child", lambda *_: pytest.fail("a process was started with it"))
    content = MODEL.read_bytes()
    visit.answer({"operation": "send_model"}, (content,))
    request = {"operation": "open", "model": hashlib.sha256(content).hexdigest(), "config": CONFIG | asked}
    refused, _ = visit.answer({**request, "try_first": try_first}, ())
    assert refused["error"]["kind"] == "unsupported"
    assert "for others" in refused["error"]["message"]


def test_a_model_is_kept_under_its_own_hash(visit: Visit, tmp_path: Path) -> None:
    content = MODEL.read_bytes()
    assert visit.answer({"operation": "send_model", "model": "whatever"}, (content,)) == ({}, ())
    (kept,) = tmp_path.iterdir()
    opened, _ = visit.answer({"operation": "open", "model": kept.name, "config": CONFIG, "try_first": True}, ())
    assert opened["inputs"] == ["image"]
    refused, _ = visit.answer({"operation": "open", "model": "0" * 64, "config": CONFIG}, ())
    assert refused["error"]["kind"] == "limit"  # no such file
    assert str(tmp_path) not in refused["error"]["message"]
