"""Finding a worker, and refusing one whose figures would be about something else."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from onnxslim.core.errors import OnnxslimError, UnsupportedError, UsageError
from onnxslim.core.version import __version__
from onnxslim.runtime.devices.device import use_device
from onnxslim.runtime.devices.messages import (
    PROTOCOL,
    TOKEN_VARIABLE,
    ProtocolError,
    answer_challenge,
    describe_failure,
    is_answer,
    keep_alive,
    parse_address,
    read_token,
    receive,
    send,
)
from onnxslim.runtime.devices.remote import Connection, RemoteDevice
from onnxslim.runtime.session_config import version

#: Seconds that a worker may take to answer at first.
CONNECT_SECONDS = 10.0
#: So long the one that follows a process that died is waited for, and between two looks: small machines start slowly.
RECONNECT_SECONDS, _RETRY_SECONDS = 10.0, 0.2
_START_HINT = "start `onnxslim worker` there; from afar: ssh -L 7117:127.0.0.1:7117 HOST, then --on 127.0.0.1:7117"


@contextmanager
def open_device(address: str | None) -> Iterator[RemoteDevice | None]:
    """Time models at ``address`` (``HOST:PORT``) while the block runs; None: here.

    Raises:
        UsageError: It is no address, or the worker knows another token.
        UnsupportedError: No worker answers, or one of another version.
        LimitError: The worker times for somebody else.
    """
    if address is None:
        yield None
        return
    device = _connect(address)
    try:
        with use_device(device):
            yield device
    finally:
        device.close()


def _connect(address: str) -> RemoteDevice:
    host, port = parse_address("--on", address)
    name = f"{host}:{port}"
    token = read_token()
    if token is None:
        hint = f"{TOKEN_VARIABLE}=… as `onnxslim worker` printed it, or what it was started with"
        raise UsageError(f"--on {name}: no token given", hint=hint)
    known = token
    return RemoteDevice(name, _greet_at((host, port), name, known), lambda: _reconnect((host, port), name, known))


def _reconnect(place: tuple[str, int], name: str, token: str) -> Connection:
    """The process that follows one that died, as soon as it answers.

    Raises:
        OnnxslimError: None does for :data:`RECONNECT_SECONDS`.
    """
    deadline = time.monotonic() + RECONNECT_SECONDS
    while True:
        try:
            return _greet_at(place, name, token)
        except UnsupportedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)


def _greet_at(place: tuple[str, int], name: str, token: str) -> Connection:
    try:
        stream = socket.create_connection(place, timeout=CONNECT_SECONDS)
    except (OSError, UnicodeError) as error:  # of a name that no host can have
        raise UnsupportedError(f"--on {name}: no worker answers ({describe_failure(error)})", hint=_START_HINT) from None
    try:
        keep_alive(stream)
        facts, process = _greet(name, stream, token)
        stream.settimeout(None)
        return Connection(stream, facts, process)
    except BaseException:
        stream.close()
        raise


def _greet(name: str, stream: socket.socket, token: str) -> tuple[dict[str, str], str]:
    """What the worker says of its machine and which process it is, once each proved to the other that it knows the token."""
    nonce = ""
    try:
        header, _ = receive(stream, greeting=True)
        if "error" not in header:
            if header["protocol"] != PROTOCOL:
                raise UnsupportedError(f"--on {name}: a worker of another onnxslim", hint="install the same version there")
            nonce = secrets.token_hex(16)
            send(stream, {"answer": answer_challenge(token, str(header["nonce"]), "search"), "nonce": nonce})
            header, _ = receive(stream, greeting=True)
        if "error" in header:
            failure = OnnxslimError.from_json(header["error"])
            raise type(failure)(f"--on {name}: {failure.message}", hint=failure.hint)
        if not is_answer(header.get("answer"), token, nonce, "worker"):
            raise UsageError(
                f"--on {name}: who answers there does not know the token, and may be somebody else",
                hint="look which process listens there, or where the ssh tunnel ends",
            )
        facts = {str(key): str(value) for key, value in header["facts"].items()}
    except (OSError, EOFError, ProtocolError, KeyError, TypeError, AttributeError) as error:
        raise UnsupportedError(f"--on {name}: no worker answers ({describe_failure(error)})", hint=_START_HINT) from None
    _check_versions(name, facts)
    return facts, str(header.get("process", ""))


def _check_versions(name: str, facts: Mapping[str, str]) -> None:
    """Refuse a worker whose figures would be of something else: another onnxslim, or a runtime with other kernels."""
    there, here = facts.get("onnxslim"), __version__
    if there != here:
        raise UnsupportedError(
            f"--on {name}: the worker has onnxslim {there}, this is {here}", hint="install the same version there"
        )
    there, here = facts.get("onnxruntime", ""), version()
    if there.split(".")[:2] != here.split(".")[:2]:
        raise UnsupportedError(
            f"--on {name}: the worker has onnxruntime {there}, this machine {here}: answers are judged here",
            hint=f"pip install onnxruntime=={there} here, or {here} there",
        )
