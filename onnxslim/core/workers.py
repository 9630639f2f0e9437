"""Where independent tasks run: in this process, in several here, or on a Ray or Dask cluster that is there already.

Everything goes through joblib's backends. A task is a function and its arguments, pickled; what it returns does not depend
on where it ran, and only the caller writes, so that a task whose worker was lost is simply handed out again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Any, TypeVar

from onnxslim.core.errors import LostWorkerError, UnsupportedError, UsageError

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

#: What every worker must have installed.
DISTRIBUTION = "onnxslim-toolkit"
#: How often a task is handed out before its worker's end counts as its own doing.
MAX_ATTEMPTS = 3
#: Seconds that a cluster may take to answer.
_CONNECT_TIMEOUT = 15
#: What loky, Ray and Dask raise when a worker is gone, whatever it was doing; Ray and Dask are not imported to look.
_LOST_WORKER_ERRORS = frozenset(
    {"WorkerCrashedError", "RayActorError", "ActorDiedError", "NodeDiedError", "KilledWorker", "CommClosedError"}
)


@dataclass(frozen=True)
class Workers:
    """Somewhere to run tasks; open one with :func:`open_workers`.

    Attributes:
        count: How many tasks run at a time.
        name: For people.
        is_out_of_process: Whether tasks leave this process.
    """

    count: int = 1
    name: str = "this process"
    is_out_of_process: bool = False

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> list[R]:
        """``function`` of every task, in their order, each as many at a time as there are workers.

        Raises:
            OnnxslimError: What the function raised, for the first such task in their order.
            LostWorkerError: A task's worker was lost every time.
        """
        if not self.is_out_of_process:
            return [function(task) for task in tasks]
        done: list[R] = []
        for start in range(0, len(tasks), self.count):
            done += self._run_batch(function, tasks[start : start + self.count])
        return done

    def _run_batch(self, function: Callable[[T], R], tasks: Sequence[T]) -> list[R]:
        from joblib import Parallel, delayed

        for _ in range(MAX_ATTEMPTS):
            try:
                outcomes = Parallel(n_jobs=self.count)(delayed(_run_guarded)(function, task) for task in tasks)
                break
            except Exception as error:
                if not _is_lost_worker(error):
                    raise
                last = error
        else:
            raise LostWorkerError(
                f"a worker of {self.name} was lost {MAX_ATTEMPTS} times while it did the same work ({type(last).__name__})",
                hint="it may be out of memory: fewer --jobs, or workers with more",
            )
        for outcome in outcomes:
            if isinstance(outcome, _TaskError):
                raise outcome.error
        return list(outcomes)


#: Steps deep inside a command ask for it, as joblib's backends are asked for: nothing they compute depends on it.
_CURRENT: ContextVar[Workers | None] = ContextVar("workers", default=None)


@dataclass(frozen=True)
class _TaskError:
    """An error on its way home: backends wrap what is raised in types of their own, and return values as they are."""

    error: Exception


def _run_guarded(function: Callable[[T], R], task: T) -> R | _TaskError:
    try:
        return function(task)
    except Exception as error:
        return _TaskError(error)


def _is_lost_worker(error: BaseException) -> bool:
    return isinstance(error, BrokenExecutor) or any(kind.__name__ in _LOST_WORKER_ERRORS for kind in type(error).__mro__)


@contextmanager
def open_workers(backend: str | None = None, jobs: int | None = None) -> Iterator[Workers]:
    """Workers for as long as the block runs; :func:`current_workers` knows them there.

    Args:
        backend: ``ray://HOST:PORT`` or ``dask://HOST:PORT`` of a cluster that is running; None for processes here.
        jobs: Tasks at a time; by default one here, and as many as it has cores on a cluster.

    Raises:
        UnsupportedError: The package of that cluster is not installed.
        UsageError: It is no such address, or nobody answers there.
    """
    with _open_backend(backend, jobs) as workers:
        token = _CURRENT.set(workers)
        try:
            yield workers
        finally:
            _CURRENT.reset(token)


def current_workers() -> Workers:
    """The workers that :func:`open_workers` opened last and that are open still; else this process alone."""
    return _CURRENT.get() or Workers()


@contextmanager
def _open_backend(backend: str | None, jobs: int | None) -> Iterator[Workers]:
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs}: expected at least 1")
    if backend is None:
        yield from _open_local(jobs or 1)
        return
    kind, separator, address = backend.partition("://")
    if kind not in _BACKENDS or not separator or not address:
        raise UsageError(f"--backend {backend}: no such backend", hint="ray://HOST:PORT or dask://HOST:PORT")
    yield from _BACKENDS[kind](backend, address, jobs)


def _open_local(jobs: int) -> Iterator[Workers]:
    if jobs == 1:
        yield Workers()
        return
    from joblib import parallel_config

    with parallel_config("loky"):
        yield Workers(jobs, f"{jobs} processes here", is_out_of_process=True)


def _open_dask(backend: str, address: str, jobs: int | None) -> Iterator[Workers]:
    _require_module("distributed", "dask", backend)
    from distributed import Client
    from joblib import parallel_config

    try:
        client = Client(f"tcp://{address}", timeout=_CONNECT_TIMEOUT, set_as_default=False)  # type: ignore[no-untyped-call, unused-ignore]
    except (OSError, ValueError) as error:
        raise UsageError(f"--backend {backend}: no scheduler answers ({error})") from None
    with client:
        versions = client.run(metadata.version, DISTRIBUTION, on_error="return")  # type: ignore[no-untyped-call, unused-ignore]
        _check_versions(versions.values(), backend)
        cores = sum(client.nthreads().values())  # type: ignore[no-untyped-call, unused-ignore]
        if not cores:
            raise UsageError(f"--backend {backend}: the cluster has no workers", hint="start some: dask worker ADDRESS")
        with parallel_config("dask", client=client):
            yield Workers(jobs or cores, backend, is_out_of_process=True)


def _retry_connect(connect: Callable[[], None]) -> None:
    """Again where a cluster did answer, but was not ready in time: Ray gives the process it starts for a client 10 s."""
    for _ in range(MAX_ATTEMPTS - 1):
        try:
            return connect()
        except ConnectionAbortedError as error:
            logger.info("not ready yet: %s", _first_line(error))
    return connect()


def _open_ray(backend: str, address: str, jobs: int | None) -> Iterator[Workers]:
    _require_module("ray", "ray", backend)
    import ray
    from joblib import parallel_config
    from ray.util.joblib import register_ray

    def connect() -> None:
        ray.init(backend, log_to_driver=False, logging_level=logging.ERROR)

    try:
        _retry_connect(connect)
    except Exception as error:
        raise UsageError(f"--backend {backend}: no cluster answers ({_first_line(error)})") from None
    try:
        version_ref = ray.remote(metadata.version).remote(DISTRIBUTION)
        try:
            version: Any = ray.get(version_ref, timeout=2 * _CONNECT_TIMEOUT)
        except Exception as error:
            version = error
        _check_versions([version], backend)
        register_ray()  # type: ignore[no-untyped-call, unused-ignore]
        cores = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call, unused-ignore]
        with parallel_config("ray"):
            yield Workers(jobs or cores, backend, is_out_of_process=True)
    finally:
        ray.shutdown()


_BACKENDS: dict[str, Callable[[str, str, int | None], Iterator[Workers]]] = {"dask": _open_dask, "ray": _open_ray}


def _check_versions(versions: Iterable[Any], backend: str) -> None:
    """Refuse workers that could not even read a task: backends wait for ever for what such a worker answers."""
    for version in versions:
        if version != metadata.version(DISTRIBUTION):
            installed = "no such package" if isinstance(version, Exception) else f"version {version}"
            raise UnsupportedError(
                f"--backend {backend}: a worker has {installed} "
                f"where this is {DISTRIBUTION} {metadata.version(DISTRIBUTION)}",
                hint="install the same version on every worker",
            )


def _require_module(module: str, extra: str, backend: str) -> None:
    if find_spec(module) is None:
        raise UnsupportedError(
            f"--backend {backend} needs {extra.capitalize()}", hint=f'pip install "onnxslim-toolkit[{extra}]"'
        )


def _first_line(error: Any) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
