"""A worker as it is started by hand."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from onnxslim.core.errors import UsageError
from onnxslim.runtime.devices.connection import open_device
from onnxslim.runtime.devices.messages import TOKEN_VARIABLE
from onnxslim.runtime.devices.worker import Worker, main
from tests.support.python import python
from tests.support.timing_workers import TOKEN, start_worker_process


def test_it_needs_the_runtime_and_numpy_and_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "import numpy, onnxruntime; known = set(sys.modules)\n"
        "import onnxslim.runtime.devices.worker\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - known}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    assert python(code).stdout.strip() == "['onnxslim']"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ending: signal.Signals
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with start_worker_process() as (process, address):
        with open_device(address) as device:
            assert device is not None
            assert set(device.facts) == {"onnxslim", "onnxruntime", "cpu", "flags", "system", "machine", "cores"}
        process.send_signal(ending)
        assert process.wait(60) == 130
    assert list(tmp_path.glob("onnxslim-*")) == []


def test_an_address_that_is_taken_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(UsageError, match=f"127.0.0.1:{port}: "):
            Worker("127.0.0.1", port, TOKEN)
        assert main(["--port", str(port)]) == 2
    assert capsys.readouterr().err.startswith("error: 127.0.0.1:")
