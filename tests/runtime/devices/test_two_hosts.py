"""A worker on another host, as network namespaces make one: reached, and noticed when the cable is pulled."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from onnxslim.runtime.devices.messages import TOKEN_VARIABLE
from tests.support.digits import MODEL
from tests.support.paths import ROOT
from tests.support.timing_workers import TOKEN

HOSTS, ADDRESSES = ("onnxslim-a", "onnxslim-b"), ("10.213.7.1", "10.213.7.2")


def ip(*words: str) -> bool:
    return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0


def command(host: str, *words: str) -> list[str]:
    return ["ip", "netns", "exec", host, sys.executable, *words]


@pytest.fixture
def hosts() -> Iterator[None]:
    """Two namespaces with a cable between them."""
    if sys.platform != "linux" or shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("needs Linux, ip and root to make network namespaces")
    try:
        if not all(ip("netns", "add", host) for host in HOSTS) or not ip(
            "link", "add", "os-a", "netns", HOSTS[0], "type", "veth", "peer", "name", "os-b", "netns", HOSTS[1]
        ):
            pytest.skip("network namespaces cannot be made here")
        for host, link, address in zip(HOSTS, ("os-a", "os-b"), ADDRESSES, strict=True):
            assert ip("-n", host, "addr", "add", f"{address}/24", "dev", link)
            assert ip("-n", host, "link", "set", link, "up")
        yield
    finally:
        for host in HOSTS:
            ip("netns", "delete", host)


@contextlib.contextmanager
def start(host: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), TOKEN_VARIABLE: TOKEN}
    pipe = subprocess.PIPE
    with subprocess.Popen(command(host, *words), stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment) as one:
        try:
            yield one
        finally:
            one.kill()


@pytest.mark.nightly
@pytest.mark.parametrize("pulled", [False, True])
def test_another_host_times_until_the_cable_is_pulled(hosts: None, pulled: bool) -> None:
    worker = ("-m", "onnxslim.runtime.devices.worker", "--listen", ADDRESSES[0])
    # long enough to be pulled in the middle
    script = (
        "import sys, numpy as np\n"
        "from onnxslim.model_io import model_file\n"
        "from onnxslim.runtime.devices.connection import open_device\n"
        "from onnxslim.runtime.session import SessionConfig, open_timed_session\n"
        "from onnxslim.runtime.timing import interleave\n"
        "feed = {'image': np.zeros((1, 1, 8, 8), np.float32)}\n"
        "try:\n"
        f"    with open_device({ADDRESSES[0]!r}):\n"
        f"        session = open_timed_session(model_file.load({str(MODEL)!r}), SessionConfig())\n"
        "        print('timing', flush=True)\n"
        f"        timing = interleave({{'a': session}}, [feed], rounds=10**6, seconds={600 if pulled else 0.2})\n"
        "    print('rounds', len(timing.rounds['a']))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    with start(HOSTS[0], *worker) as device:
        assert device.stdout is not None
        assert "timing at" in device.stdout.readline()
        with start(HOSTS[1], "-c", script) as search:
            assert search.stdout is not None
            assert search.stdout.readline() == "timing\n"
            if pulled:
                assert ip("-n", HOSTS[0], "link", "set", "os-a", "down")
            told = search.communicate(timeout=120)[0]
    assert told.startswith("LimitError --on 10.213.7.1:7117: the worker is gone" if pulled else "rounds")
