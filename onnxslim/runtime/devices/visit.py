"""What a worker does for the search that it serves: models and inputs in, times and graphs out."""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from onnxslim.core.errors import DefectError, LimitError, OnnxslimError, UnsupportedError
from onnxslim.runtime import node_profile, timing
from onnxslim.runtime.devices.messages import (
    Blobs,
    ProtocolError,
    describe_failure,
    pack_arrays,
    send,
    unpack_arrays,
)
from onnxslim.runtime.devices.raw_session import RawSession, check_harmless
from onnxslim.runtime.isolation import LOADING_CHILD, ask_child
from onnxslim.runtime.session_config import SessionConfig, build_request, version

Reply = tuple[dict[str, Any], Blobs]


class Visit:
    """One search that is being served: the models that it sent, and its sessions.

    Args:
        stream: Where progress goes.
        folder: Where models are kept meanwhile, by their SHA-256.
    """

    def __init__(self, stream: socket.socket, folder: str) -> None:
        self._stream, self._folder = stream, folder
        self._sessions: dict[int, RawSession] = {}
        self._opened = 0
        self._operations: dict[str, Callable[[Mapping[str, Any], Blobs], Reply]] = {
            "send_model": self._keep_model,
            "open": self._open,
            "run": self._run,
            "interleave": self._interleave,
            "count": self._count,
            "profile": self._profile,
            "optimize": self._optimize,
        }

    def answer(self, header: Mapping[str, Any], blobs: Blobs) -> Reply:
        """The reply to one request; what goes wrong is one too."""
        try:
            for number in header.get("close", ()):
                self._sessions.pop(number, None)
            operation = self._operations.get(str(header.get("operation")))
            if operation is None:
                raise ProtocolError(f"no such operation: {header.get('operation')}")
            return operation(header, blobs)
        except ProtocolError:
            raise
        except OnnxslimError as error:
            return {"error": error.as_json()}, ()
        except (MemoryError, OSError) as error:  # which may name files here: not told
            return {"error": LimitError(f"the worker ran out of what it needs: {describe_failure(error)}").as_json()}, ()
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ProtocolError(f"a request that cannot be read ({error})") from None
        except Exception as error:
            return {"error": DefectError.of(error).as_json()}, ()

    def _keep_model(self, header: Mapping[str, Any], blobs: Blobs) -> Reply:
        with open(os.path.join(self._folder, hashlib.sha256(blobs[0]).hexdigest()), "wb") as file:
            file.write(blobs[0])
        return {}, ()

    def _find_model(self, header: Mapping[str, Any]) -> str:
        digest = str(header["model"])
        if not digest.isalnum():
            raise ProtocolError("a model that is no digest")
        return os.path.join(self._folder, digest)

    def _start(self, header: Mapping[str, Any], **files: str) -> RawSession:
        path, config = self._find_model(header), _read_config(header["config"])
        check_harmless(config)
        if header.get("try_first"):
            _check_survives(path, config)
        with open(path, "rb") as file:
            return RawSession(file.read(), config, **files)

    def _open(self, header: Mapping[str, Any], blobs: Blobs) -> Reply:
        session = self._start(header)
        self._opened += 1
        self._sessions[self._opened] = session
        about = {"inputs": session.inputs, "outputs": session.outputs, "seconds": session.create_seconds}
        return {"session": self._opened, **about}, ()

    def _run(self, header: Mapping[str, Any], blobs: Blobs) -> Reply:
        session, (feed,) = self._sessions[header["session"]], _read_feeds(header, blobs)
        if header["outputs"] is None:
            return {"seconds": session.time_run(feed)}, ()
        described, arrays = pack_arrays(session.run(feed, header["outputs"]))
        return {"arrays": described}, arrays

    def _interleave(self, header: Mapping[str, Any], blobs: Blobs) -> Reply:
        sessions = {str(name): self._sessions[number] for name, number in header["sessions"]}

        def report(stage: str, done: int, total: int) -> None:
            send(self._stream, {"progress": [done, total]})

        found = timing.interleave(sessions, _read_feeds(header, blobs), progress=report, **header["limits"])
        described, arrays = pack_arrays(found.rounds)
        about = {"provider": found.provider, "threads": found.threads}
        return {"arrays": described, **about, "is_processor_time": found.is_processor_time}, arrays

    def _count(self, header: Mapping[str, Any], blobs: Blobs) -> Reply:
        session = self._sessions[header["session"]]
        times = timing.count_inferences(session, _read_feeds(header, blobs), **header["limits"])
        described, arrays = pack_arrays({"times": times})
        return {"arrays": described}, arrays

    def _profile(self, header: Mapping[str, Any], blobs: Blobs) -> Reply:
        with tempfile.TemporaryDirectory(prefix="onnxslim-") as folder:
            session = self._start(header, profile_prefix=os.path.join(folder, "trace"))
            times = node_profile.profile_session(session, _read_feeds(header, blobs), **header["counts"])
        return {"nodes": [[time.name, time.op, time.provider, time.seconds] for time in times.values()]}, ()

    def _optimize(self, header: Mapping[str, Any], blobs: Blobs) -> Reply:
        with tempfile.TemporaryDirectory(prefix="onnxslim-") as folder:
            path = os.path.join(folder, "optimized.onnx")
            self._start(header, optimized_path=path)
            with open(path, "rb") as file:
                return {}, (file.read(),)


def _read_config(entry: Mapping[str, Any]) -> SessionConfig:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return SessionConfig(**fields)


def _read_feeds(header: Mapping[str, Any], blobs: Blobs) -> list[dict[str, np.ndarray]]:
    """The feeds of a request: the descriptions of each, their blobs one after another."""
    feeds, start = [], 0
    for described in header["feeds"]:
        feeds.append(unpack_arrays(described, blobs[start : start + len(described)]))
        start += len(described)
    return feeds


def _check_survives(path: str, config: SessionConfig) -> None:
    """Refuse a model that ends the runtime's process while it loads; what it merely refuses comes up again."""
    answer = ask_child(LOADING_CHILD, {**build_request(config), "model": path})
    if "died" in answer:
        raise UnsupportedError(f"onnxruntime {version()} died while it loaded the model: {answer['died']}")
