"""Tasks on other processes and on real local clusters: the same results, lost workers replaced, errors as they were."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from onnxslim.core.errors import GateError, OnnxslimError, UnsupportedError, UsageError
from onnxslim.core.workers import DISTRIBUTION, MAX_ATTEMPTS, _check_versions, _retry_connect, open_workers
from tests.support.paths import ROOT

TASKS = list(range(7))


def squared(task: int) -> tuple[int, int]:
    return task, task * task


def refused(task: int) -> int:
    if task >= 2:
        raise GateError(f"task {task} is too much", hint="ask for less")
    return task


def fatal_once(task: tuple[str, int]) -> int:
    """Ends its process the first time that anybody does task 1, and notes every time it got to its end."""
    folder, number = task
    marker = Path(folder, "died")
    if number == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * 10


def fatal(task: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return task


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """Workers import this module by its name to find the functions above."""
    root, before = str(ROOT), os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = root
    sys.path.insert(0, root)
    yield
    sys.path.remove(root)
    del os.environ["PYTHONPATH"]
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def dask(importable: None) -> Iterator[str]:
    """The address of a Dask cluster of two processes."""
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    try:
        yield cluster.scheduler_address.replace("tcp://", "dask://")
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def ray(importable: None) -> Iterator[str]:
    """The address of a Ray cluster of two processors, with a client server."""
    pytest.importorskip("ray", reason="needs the extra ray")
    command = str(Path(sys.executable).with_name("ray"))
    flags = ["--num-cpus=2", "--port=26379", "--ray-client-server-port=26001", "--include-dashboard=false"]
    subprocess.run([command, "start", "--head", *flags], check=True, capture_output=True)
    try:
        yield "ray://127.0.0.1:26001"
    finally:
        subprocess.run([command, "stop", "--force"], check=True, capture_output=True)


@pytest.fixture(params=["here", "dask", pytest.param("ray", marks=pytest.mark.nightly)])
def backend(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "here" else str(request.getfixturevalue(request.param))


def test_results_are_those_of_one_process_in_their_order(backend: str | None) -> None:
    with open_workers() as one, open_workers(backend, 2) as several:
        assert several.is_out_of_process
        assert not one.is_out_of_process
        assert several.map(squared, TASKS) == one.map(squared, TASKS)


def test_what_a_task_raises_is_raised_here(backend: str | None) -> None:
    with open_workers(backend, 2) as workers, pytest.raises(GateError, match="task 2 is too much") as caught:
        workers.map(refused, TASKS)
    assert caught.value.hint == "ask for less"


def test_a_lost_workers_task_is_done_by_another(backend: str | None, tmp_path: Path) -> None:
    with open_workers(backend, 2) as workers:
        assert workers.map(fatal_once, [(str(tmp_path), number) for number in range(4)]) == [0, 10, 20, 30]
    assert (tmp_path / "died").exists()


def test_a_task_that_ends_every_worker_is_given_up() -> None:
    with open_workers(None, 2) as workers, pytest.raises(OnnxslimError, match=f"lost {MAX_ATTEMPTS} times"):
        workers.map(fatal, [0, 1])


@pytest.mark.parametrize("backend", ["spark://a:1", "dask", "ray://", "://x"])
def test_another_kind_of_address_is_refused(backend: str) -> None:
    with pytest.raises(UsageError, match="no such backend"), open_workers(backend):
        pass


def test_a_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="needs the extra dask")
    monkeypatch.setattr("onnxslim.core.workers._CONNECT_TIMEOUT", 1)
    started = time.monotonic()
    with pytest.raises(UsageError, match="no scheduler answers"), open_workers("dask://127.0.0.1:9"):
        pass
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(("failures", "tries"), [(0, 1), (MAX_ATTEMPTS - 1, MAX_ATTEMPTS), (MAX_ATTEMPTS, MAX_ATTEMPTS)])
def test_a_cluster_that_is_not_ready_yet_is_asked_again(failures: int, tries: int) -> None:
    made: list[int] = []

    def connect() -> None:
        made.append(1)
        if len(made) <= failures:
            raise ConnectionAbortedError("Initialization failure from server:")

    with contextlib.nullcontext() if failures < MAX_ATTEMPTS else pytest.raises(ConnectionAbortedError):
        _retry_connect(connect)
    assert len(made) == tries


@pytest.mark.parametrize("kind", ["ray", "dask"])
def test_without_the_package_the_command_that_installs_it_is_said(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxslim.core.workers.find_spec", lambda name: None)
    with pytest.raises(UnsupportedError) as caught, open_workers(f"{kind}://a:1"):
        pass
    assert f"onnxslim-toolkit[{kind}]" in str(caught.value.hint)


@pytest.mark.parametrize("found", ["0.0.1", ModuleNotFoundError("onnxslim")])
def test_a_worker_without_the_same_version_is_refused_before_it_is_given_anything(found: object) -> None:
    with pytest.raises(UnsupportedError, match="a worker has") as caught:
        _check_versions([metadata.version(DISTRIBUTION), found], "dask://a:1")
    assert "same version" in str(caught.value.hint)
