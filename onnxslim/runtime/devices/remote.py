"""A device that is another machine: what is timed there by a worker (:mod:`onnxslim.runtime.devices.worker`)."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import onnx_ir as ir

from onnxslim.core.deadline import seconds_left
from onnxslim.core.errors import LimitError, OnnxslimError, UnsupportedError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.model_io import model_file
from onnxslim.runtime.devices.device import Feed, TimedSession
from onnxslim.runtime.devices.messages import (
    Blobs,
    ProtocolError,
    describe_failure,
    receive,
    send,
    unpack_arrays,
)
from onnxslim.runtime.devices.requests import check_times, pack_feeds, write_config
from onnxslim.runtime.load_check import holds_half_floats
from onnxslim.runtime.node_profile import NodeTime
from onnxslim.runtime.providers import PROVIDERS, Provider
from onnxslim.runtime.session_config import SessionConfig
from onnxslim.runtime.timing import Timing

#: A worker that is asked and says nothing for so long hangs, though its system answers for it; no model takes longer to
#: load, and of rounds that are timed each is told.
MAX_SILENCE_SECONDS = 900.0
#: So long beyond the end of its time a command waits for an answer: to give up is to lose the device, and the search.
GRACE_SECONDS = 60.0
#: What the process there did that died in an operation; it ran a model in every other.
_FATAL_OPERATIONS = {"send_model": "received", "open": "loaded", "optimize": "loaded"}


@dataclass(frozen=True)
class Connection:
    """A stream to a process of a worker, after both have greeted.

    Attributes:
        stream: Connected.
        facts: What the worker says of its machine.
        process: What tells the process there from every other.
    """

    stream: socket.socket
    facts: Mapping[str, str]
    process: str = ""


class RemoteSession:
    """A session on ``device``; it is closed there when nobody holds it here."""

    def __init__(self, device: RemoteDevice, config: SessionConfig, opened: Mapping[str, Any]) -> None:
        self.device, self.config, self.number = device, config, int(opened["session"])
        self.process = device.process
        name, _, index = config.provider.partition(":")
        self.provider = Provider(PROVIDERS[name][0], int(index or 0))
        self.inputs, self.outputs = list(opened["inputs"]), list(opened["outputs"])
        self.create_seconds = float(opened["seconds"])
        weakref.finalize(self, device.closed.append, self.number)

    def run(self, feeds: Feed, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Run once there; ``outputs`` (all by default) by name."""
        names = self.outputs if outputs is None else list(outputs)
        return self.device.run(self, feeds, names)[1]

    def time_run(self, feeds: Feed) -> float:
        """Run once there; the seconds it took there."""
        return self.device.run(self, feeds, None)[0]


class RemoteDevice:
    """A worker; see :class:`~onnxslim.runtime.devices.device.Device`.

    Where its process dies of a model and another follows, what was asked ends in an :class:`UnsupportedError`, and what is
    asked next is asked of that one.

    Args:
        name: ``HOST:PORT``, for people.
        connection: To it.
        reconnect: Makes another; None where it cannot.

    Attributes:
        closed: Sessions that nobody holds any more; the worker is told with the next request.
        deadline: See :class:`~onnxslim.runtime.devices.device.Device`.
        process: See :class:`Connection`.
    """

    def __init__(self, name: str, connection: Connection, reconnect: Callable[[], Connection] | None = None) -> None:
        self.name, self.facts, self._reconnect = name, connection.facts, reconnect
        self.deadline: float | None = None
        self._loss: LimitError | None = None
        self._waited = 0.0
        self._begin(connection)

    def _begin(self, connection: Connection) -> None:
        """Ask at ``connection`` from here on, where nothing was sent yet."""
        self.closed: list[int] = []
        self.process, self._stream, self._sent = connection.process, connection.stream, set[str]()

    def open_session(self, model: ir.Model, config: SessionConfig) -> RemoteSession:
        """A session of ``model`` there."""
        opened, _ = self._ask("open", {**self._send_model(model), "config": write_config(config)})
        with self._reading():
            return RemoteSession(self, config, opened)

    def run(self, session: RemoteSession, feeds: Feed, outputs: list[str] | None) -> tuple[float, dict[str, np.ndarray]]:
        """Run ``session`` once: its seconds without ``outputs``, else those."""
        described, blobs = pack_feeds([feeds])
        reply, arrays = self._ask(
            "run", {"session": self._get_number(session), "outputs": outputs, "feeds": described}, blobs
        )
        with self._reading():
            return float(reply.get("seconds", 0.0)), unpack_arrays(reply.get("arrays", ()), arrays)

    def interleave(
        self, sessions: Mapping[str, TimedSession], feeds: Sequence[Feed], progress: Progress, **limits: Any
    ) -> Timing:
        """As :func:`onnxslim.runtime.timing.interleave`."""
        described, blobs = pack_feeds(feeds)
        numbers = [[name, self._get_number(session)] for name, session in sessions.items()]
        header = {"sessions": numbers, "feeds": described, "limits": limits}
        reply, arrays = self._ask("interleave", header, blobs, progress)
        with self._reading():
            rounds = check_times(unpack_arrays(reply["arrays"], arrays), sessions)
            about = {key: reply[key] for key in ("provider", "threads", "is_processor_time")}
            return Timing(rounds, **about)

    def count_inferences(self, session: TimedSession, feeds: Sequence[Feed], **limits: Any) -> np.ndarray:
        """As :func:`onnxslim.runtime.timing.count_inferences`."""
        described, blobs = pack_feeds(feeds)
        header = {"session": self._get_number(session), "feeds": described, "limits": limits}
        reply, arrays = self._ask("count", header, blobs)
        with self._reading():
            return check_times(unpack_arrays(reply["arrays"], arrays), ["times"])["times"]

    def measure_node_times(
        self, model: ir.Model, feeds: Sequence[Feed], config: SessionConfig, **counts: int
    ) -> dict[str, NodeTime]:
        """As :func:`onnxslim.runtime.node_profile.measure_node_times`."""
        described, blobs = pack_feeds(feeds)
        header = {**self._send_model(model), "config": write_config(config), "feeds": described, "counts": counts}
        reply, _ = self._ask("profile", header, blobs)
        with self._reading():
            return {name: NodeTime(name, op, provider, float(time)) for name, op, provider, time in reply["nodes"]}

    def optimize_graph(self, model: ir.Model, config: SessionConfig) -> bytes:
        """``model`` after the optimisation of the runtime there, as a file's content."""
        _, contents = self._ask("optimize", {**self._send_model(model), "config": write_config(config)})
        with self._reading():
            (content,) = contents
            return content

    def close(self) -> None:
        """Let the worker go."""
        self._stream.close()

    def _get_number(self, session: TimedSession) -> int:
        if not isinstance(session, RemoteSession) or session.device is not self:
            raise TypeError(f"a session that was not opened on {self.name}")
        if session.process != self.process:
            raise UnsupportedError(f"on {self.name}: the process that the model was loaded in died of another")
        return session.number

    def _send_model(self, model: ir.Model) -> dict[str, Any]:
        """How a request names ``model``, which is there then: a model travels once, however often it is timed."""
        limit = model_file.INLINE_LIMIT  # beyond, a model is no single file
        if model_file.count_tensor_bytes(model) > limit:
            raise UnsupportedError(f"on {self.name}: a model of more than {limit / 1e9} GB does not travel")
        content = model_file.to_bytes(model)
        digest = hashlib.sha256(content).hexdigest()
        is_new = digest not in self._sent
        if is_new:
            self._ask("send_model", {}, (content,))
            self._sent.add(digest)
        # a fusion of half floats can end the runtime's process: tried in one of its own first, as here
        return {"model": digest, "try_first": is_new and holds_half_floats(model)}

    def _ask(
        self, operation: str, header: Mapping[str, Any], blobs: Blobs = (), progress: Progress = ignore_progress
    ) -> tuple[dict[str, Any], list[bytes]]:
        """One request and its reply; what went wrong there is raised here.

        Raises:
            UnsupportedError: The process there died of it, and another follows.
            LimitError: The device is gone, now or since an earlier request.
        """
        if self._loss is not None:
            raise self._loss
        closed, self.closed[:] = list(self.closed), []
        try:
            self._limit_silence()
            send(self._stream, {**header, "operation": operation, "close": closed}, blobs)
            self._limit_silence()
            reply, arrays = receive(self._stream)
            while "progress" in reply:
                progress("timing", *reply["progress"])
                self._limit_silence()
                reply, arrays = receive(self._stream)
            failure = OnnxslimError.from_json(reply["error"]) if "error" in reply else None
        except (OSError, EOFError) as error:
            if self._find_successor(error):
                did = _FATAL_OPERATIONS.get(operation, "ran")
                raise UnsupportedError(
                    f"on {self.name}: the process of the worker died while it {did} a model",
                    hint="the worker says there of what; `onnxslim validate` there tells whether the model loads",
                ) from error
            self._lose(error)
        except (ProtocolError, KeyError, TypeError) as error:
            self._lose(error)
        except BaseException:  # interrupted in the middle of a frame: nothing that follows could be told apart
            self._stream.close()
            raise
        if failure is not None:
            failure.message = f"on {self.name}: {failure.message}"
            failure.args = (failure.message,)
            raise failure
        return reply, arrays

    def _limit_silence(self) -> None:
        """How long from here on the worker may say nothing."""
        self._waited = min(MAX_SILENCE_SECONDS, max(seconds_left(self.deadline), 0.0) + GRACE_SECONDS)
        self._stream.settimeout(self._waited)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """While a reply is read: what does not answer what was asked comes from no worker, and the device is lost."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._lose(error)

    def _find_successor(self, error: Exception) -> bool:
        """Whether ``error`` is that the process there died, and another one answers, which is asked from here on. One that
        hangs is there still, and so is one that only the line to is lost.
        """
        self._stream.close()
        if self._reconnect is None or isinstance(error, TimeoutError):
            return False
        try:
            connection = self._reconnect()
        except OnnxslimError:
            return False
        if connection.process == self.process or connection.facts != self.facts:
            connection.stream.close()
            return False
        self._begin(connection)
        return True

    def _lose(self, error: Exception) -> NoReturn:
        is_silent = isinstance(error, TimeoutError)
        why = f"it said nothing for {self._waited:.3g} s" if is_silent else describe_failure(error)
        self._stream.close()
        self._loss = LimitError(
            f"--on {self.name}: the worker is gone ({why})",
            hint="start it again and repeat the command; with --study DIR a search goes on where it was",
        )
        raise self._loss from error
