"""How a session runs, as plain data for another process."""

from __future__ import annotations

import json
import os
import time

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.runtime.providers import CPU, Provider
from onnxslim.runtime.session import Session
from onnxslim.runtime.session_config import (
    SessionConfig,
    build_provider_list,
    build_request,
    check_active,
    make_session_options,
)


def test_a_request_holds_all_that_decides_how_a_session_runs() -> None:
    entries = {"session.intra_op.allow_spinning": "0"}
    request = build_request(SessionConfig(threads=3, optimize=False, session_options=entries, custom_ops=("ops.so",)))
    assert json.loads(json.dumps(request)) == {
        "threads": 3,
        "optimize": False,
        "session_options": entries,
        "custom_ops": [os.path.abspath("ops.so")],
        "providers": [[CPU, {}]],
    }
    with pytest.raises(UsageError, match="no such entry"):
        build_request(SessionConfig(session_options={"session.intra_op.allow_spining": "0"}))


def test_more_threads_than_any_machine_has_cores_are_refused_before_one_starts() -> None:
    with pytest.raises(UsageError, match="1000 threads"):
        SessionConfig(threads=1000)


def test_a_device_has_the_cpu_behind_it_and_may_not_fall_back_to_it() -> None:
    gpu = Provider("CUDAExecutionProvider", 1)
    assert build_provider_list(gpu, SessionConfig("cuda:1")) == [(gpu.name, {"device_id": "1"}), (CPU, {})]
    check_active(gpu, [gpu.name, CPU])
    with pytest.raises(UnsupportedError, match="--provider cuda:1: the session fell back to CPU"):
        check_active(gpu, [CPU])


def test_threads_of_a_session_are_quiet_between_its_runs() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["": 20]> g (float[512,512] x) => (float[512,512] y) { y = MatMul(x, x) }'
    )
    session, feed = Session(model, SessionConfig(threads=2)), {"x": np.zeros((512, 512), np.float32)}
    for _ in range(3):
        session.run(feed)
    before = time.process_time()
    time.sleep(0.05)
    assert time.process_time() - before < 0.01, "they spin for 20 ms, on processors that others are timed on"


@pytest.mark.parametrize(
    ("config", "is_quiet"),
    [
        (SessionConfig(threads=2), "1"),
        (SessionConfig(threads=2, session_options={"session.force_spinning_stop": "0"}), "0"),
        (SessionConfig(), None),
    ],
)
def test_who_wants_them_to_spin_may_say_so(config: SessionConfig, is_quiet: str | None) -> None:
    options = make_session_options(config, None, None)
    if is_quiet is None:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry("session.force_spinning_stop")
    else:
        assert options.get_session_config_entry("session.force_spinning_stop") == is_quiet
