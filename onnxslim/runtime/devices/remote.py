"""A device that is another machine: what is timed there by a worker (:mod:`onnxslim.runtime.devices.worker`)."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import socket
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    pack_arrays,
    receive,
    send,
    unpack_arrays,
)
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


class RemoteSession:
    """A session on ``device``; it is closed there when nobody holds it here."""

    def __init__(self, device: RemoteDevice, config: SessionConfig, opened: Mapping[str, Any]) -> None:
        self.device, self.config, self.number = device, config, int(opened["session"])
        name, _, index = config.provider.partition(":")
        self.provider = Provider(PROVIDERS[name][0], int(index or 0))
        self.inputs, self.outputs = list(opened["inputs"]), list(opened["outputs"])
        self.create_seconds = float(opened["seconds"])
        weakref.finalize(self, device.closed.append, self.number)

    def run(self, feeds: Feed, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Run once there; ``outputs`` (all by default) by name."""
        names = self.outputs if outputs is None else list(outputs)
        return self.device.run(self.number, feeds, names)[1]

    def time_run(self, feeds: Feed) -> float:
        """Run once there; the seconds it took there."""
        return self.device.run(self.number, feeds, None)[0]


class RemoteDevice:
    """A connection to a worker; see :class:`~onnxslim.runtime.devices.device.Device`.

    Args:
        name: ``HOST:PORT``, for people.
        stream: Connected and greeted.
        facts: What the worker says of its machine.

    Attributes:
        closed: Sessions that nobody holds any more; the worker is told with the next request.
        deadline: See :class:`~onnxslim.runtime.devices.device.Device`.
    """

    def __init__(self, name: str, stream: socket.socket, facts: Mapping[str, str]) -> None:
        self.name, self.facts = name, facts
        self.deadline: float | None = None
        self.closed: list[int] = []
        self._stream, self._sent = stream, set[str]()
        self._loss: LimitError | None = None

    def open_session(self, model: ir.Model, config: SessionConfig) -> RemoteSession:
        """A session of ``model`` there."""
        opened, _ = self._ask("open", {**self._send_model(model), "config": _write_config(config)})
        with self._reading():
            return RemoteSession(self, config, opened)

    def run(self, number: int, feeds: Feed, outputs: list[str] | None) -> tuple[float, dict[str, np.ndarray]]:
        """Run session ``number`` once: its seconds without ``outputs``, else those."""
        described, blobs = _pack_feeds([feeds])
        reply, arrays = self._ask("run", {"session": number, "outputs": outputs, "feeds": described}, blobs)
        with self._reading():
            return float(reply.get("seconds", 0.0)), unpack_arrays(reply.get("arrays", ()), arrays)

    def interleave(
        self, sessions: Mapping[str, TimedSession], feeds: Sequence[Feed], progress: Progress, **limits: Any
    ) -> Timing:
        """As :func:`onnxslim.runtime.timing.interleave`."""
        described, blobs = _pack_feeds(feeds)
        numbers = [[name, self._get_number(session)] for name, session in sessions.items()]
        header = {"sessions": numbers, "feeds": described, "limits": limits}
        reply, arrays = self._ask("interleave", header, blobs, progress)
        with self._reading():
            rounds = _check_times(unpack_arrays(reply["arrays"], arrays), sessions)
            about = {key: reply[key] for key in ("provider", "threads", "is_processor_time")}
            return Timing(rounds, **about)

    def count_inferences(self, session: TimedSession, feeds: Sequence[Feed], **limits: Any) -> np.ndarray:
        """As :func:`onnxslim.runtime.timing.count_inferences`."""
        described, blobs = _pack_feeds(feeds)
        header = {"session": self._get_number(session), "feeds": described, "limits": limits}
        reply, arrays = self._ask("count", header, blobs)
        with self._reading():
            return _check_times(unpack_arrays(reply["arrays"], arrays), ["times"])["times"]

    def measure_node_times(
        self, model: ir.Model, feeds: Sequence[Feed], config: SessionConfig, **counts: int
    ) -> dict[str, NodeTime]:
        """As :func:`onnxslim.runtime.node_profile.measure_node_times`."""
        described, blobs = _pack_feeds(feeds)
        header = {**self._send_model(model), "config": _write_config(config), "feeds": described, "counts": counts}
        reply, _ = self._ask("profile", header, blobs)
        with self._reading():
            return {name: NodeTime(name, op, provider, float(time)) for name, op, provider, time in reply["nodes"]}

    def optimize_graph(self, model: ir.Model, config: SessionConfig) -> bytes:
        """``model`` after the optimisation of the runtime there, as a file's content."""
        _, contents = self._ask("optimize", {**self._send_model(model), "config": _write_config(config)})
        with self._reading():
            (content,) = contents
            return content

    def close(self) -> None:
        """Let the worker go."""
        self._stream.close()

    def _get_number(self, session: TimedSession) -> int:
        if not isinstance(session, RemoteSession) or session.device is not self:
            raise TypeError(f"a session that was not opened on {self.name}")
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
        except (OSError, EOFError, ProtocolError, KeyError, TypeError) as error:
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
        self._stream.settimeout(min(MAX_SILENCE_SECONDS, max(seconds_left(self.deadline), 0.0) + GRACE_SECONDS))

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """While a reply is read: what does not answer what was asked comes from no worker, and the device is lost."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._lose(error)

    def _lose(self, error: Exception) -> NoReturn:
        is_silent = isinstance(error, TimeoutError)
        why = f"it said nothing for {self._stream.gettimeout():.3g} s" if is_silent else describe_failure(error)
        self._stream.close()
        self._loss = LimitError(
            f"--on {self.name}: the worker is gone ({why})",
            hint="start it again and repeat the command; with --study DIR a search goes on where it was",
        )
        raise self._loss from error


def _check_times(found: Mapping[str, np.ndarray], names: Iterable[str]) -> dict[str, np.ndarray]:
    """The times of ``names``, shape (rounds,) each.

    Raises:
        ProtocolError: Some are no times, or not of as many rounds.
    """
    times = {name: found[name] for name in names}
    shapes = {array.shape for array in times.values()}
    if len(shapes) != 1 or not all(array.dtype.kind == "f" and array.ndim == 1 and array.size for array in times.values()):
        raise ProtocolError("no times")
    if not all(bool(np.all(np.isfinite(array) & (array > 0))) for array in times.values()):
        raise ProtocolError("times that are none")
    return times


def _write_config(config: SessionConfig) -> dict[str, Any]:
    return {
        "provider": config.provider,
        "threads": config.threads,
        "optimize": config.optimize,
        "is_lean": config.is_lean,
        "session_options": dict(config.session_options),
        "provider_options": dict(config.provider_options),
        "custom_ops": list(config.custom_ops),
    }


def _pack_feeds(feeds: Sequence[Feed]) -> tuple[list[list[dict[str, Any]]], list[bytes]]:
    packed = [pack_arrays(feed) for feed in feeds]
    return [described for described, _ in packed], list(itertools.chain.from_iterable(blobs for _, blobs in packed))
