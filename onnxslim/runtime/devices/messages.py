"""What travels between a search and a worker: a length, a header of JSON, and raw bytes. Nothing that is read is code.

A frame is ``OSW1``, the header's length (4 bytes, big-endian), the header, and the blobs, whose lengths the header's
``blobs`` lists. Arrays are a blob each, described by name, dtype and shape.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from onnxslim.core.errors import UnsupportedError, UsageError

#: Of the frames and of what is said in them.
PROTOCOL = 1
#: Where a worker listens unless told otherwise.
DEFAULT_PORT = 7117
#: Bytes of a header and of a blob: a stranger's lengths are judged before anything is allocated.
MAX_HEADER_BYTES, MAX_BLOB_BYTES = 1 << 24, 1 << 31
#: Of a header before both sides know each other; no blobs follow one then.
MAX_GREETING_BYTES = 1 << 16
#: The secret that both sides know, and the file that holds it.
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "ONNXSLIM_TOKEN", "ONNXSLIM_TOKEN_FILE"

_MAGIC = b"OSW1"
#: Sent at a time: a slow line is no reason to give up, another side that takes nothing is.
_SENT_BYTES = 1 << 16
_PREFIX = struct.Struct("!4sI")
#: When the system asks an other side that says nothing, in seconds, how often, and for how many ms it repeats what was not
#: received.
_PATIENCE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}
#: Kinds of numpy's dtypes that are plain bytes; of texts those of a fixed width.
_PLAIN_KINDS = "biufcU"

Blobs = Sequence[bytes]


class ProtocolError(ValueError):
    """The other side says something else than this protocol."""


def send(stream: socket.socket, header: Mapping[str, Any], blobs: Blobs = ()) -> None:
    """Send one frame.

    Raises:
        OSError: The other side is gone.
    """
    text = json.dumps({**header, "blobs": [len(blob) for blob in blobs]}).encode()
    for part in (_PREFIX.pack(_MAGIC, len(text)) + text, *blobs):
        content = memoryview(part)
        for start in range(0, len(content), _SENT_BYTES):  # a timeout of the stream is of each
            stream.sendall(content[start : start + _SENT_BYTES])


def receive(stream: socket.socket, *, greeting: bool = False) -> tuple[dict[str, Any], list[bytes]]:
    """The next frame: its header and its blobs; of a ``greeting``, a short header alone.

    Raises:
        EOFError: The other side has closed.
        OSError: It is gone.
        ProtocolError: What came is no frame.
    """
    magic, length = _PREFIX.unpack(_receive_bytes(stream, _PREFIX.size))
    if magic != _MAGIC or length > (MAX_GREETING_BYTES if greeting else MAX_HEADER_BYTES):
        raise ProtocolError("no frame of onnxslim's")
    try:
        header = json.loads(_receive_bytes(stream, length))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a header that is no JSON ({error})") from None
    sizes = header.get("blobs") if isinstance(header, dict) else None
    if not isinstance(sizes, list) or not all(isinstance(n, int) and 0 <= n <= MAX_BLOB_BYTES for n in sizes):
        raise ProtocolError("a header without the sizes of what follows")
    if greeting and sizes:
        raise ProtocolError("a greeting with more behind it")
    return header, [_receive_bytes(stream, size) for size in sizes]


def _receive_bytes(stream: socket.socket, count: int) -> bytes:
    chunks = []
    while count:
        chunk = stream.recv(min(count, 1 << 20))
        if not chunk:
            raise EOFError("the connection was closed")
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """``arrays`` as a description of each for the header, and their bytes.

    Raises:
        UnsupportedError: One is of a dtype that is not numpy's own.
    """
    described, blobs = [], []
    for name, value in arrays.items():
        array = np.asarray(value)
        if array.dtype.kind == "O":  # texts, as the runtime takes them
            array = array.astype(str)
        if array.dtype.kind not in _PLAIN_KINDS:
            raise UnsupportedError(f"input {name} is {array.dtype}: only numpy's own types travel to another machine")
        described.append({"name": name, "dtype": array.dtype.str, "shape": list(array.shape)})
        blobs.append(array.tobytes())
    return described, blobs


def unpack_arrays(described: Sequence[Mapping[str, Any]], blobs: Blobs) -> dict[str, np.ndarray]:
    """What :func:`pack_arrays` packed.

    Raises:
        ProtocolError: A description does not fit its bytes.
    """
    arrays = {}
    try:
        for entry, blob in zip(described, blobs, strict=True):
            dtype, shape = np.dtype(entry["dtype"]), [int(size) for size in entry["shape"]]
            if dtype.kind not in _PLAIN_KINDS or min(shape, default=0) < 0:
                raise ProtocolError(f"an array of {dtype}, shape {shape}")
            if math.prod(shape) * dtype.itemsize != len(blob):
                raise ProtocolError(f"{len(blob)} bytes of an array of {dtype}, shape {shape}")
            arrays[str(entry["name"])] = np.frombuffer(blob, dtype).reshape(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"arrays that cannot be read ({error})") from None
    return arrays


def read_token() -> str | None:
    """The secret of ``ONNXSLIM_TOKEN``, or of the file that ``ONNXSLIM_TOKEN_FILE`` names; None where neither is set.

    Raises:
        UsageError: There is no such file, or it is empty.
    """
    token, path = os.environ.get(TOKEN_VARIABLE), os.environ.get(TOKEN_FILE_VARIABLE)
    if token or not path:
        return token or None
    try:
        with open(path, encoding="utf-8") as file:
            token = file.read().strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"{TOKEN_FILE_VARIABLE}={path}: {getattr(error, 'strerror', None) or error}") from None
    if not token:
        raise UsageError(f"{TOKEN_FILE_VARIABLE}={path}: empty, expected a token")
    return token


def answer_challenge(token: str, nonce: str, role: Literal["search", "worker"]) -> str:
    """What proves that one knows ``token`` without saying it (HMAC-SHA256, RFC 2104).

    The ``role`` is of who answers: an answer of the one side sent back to it proves nothing.
    """
    key, message = (text.encode(errors="surrogatepass") for text in (token, f"{role} {nonce}"))
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def is_answer(said: object, token: str, nonce: str, role: Literal["search", "worker"]) -> bool:
    """Whether ``said`` is what :func:`answer_challenge` gives, in a time that tells nothing of it."""
    return hmac.compare_digest(str(said).encode(errors="replace"), answer_challenge(token, nonce, role).encode())


def parse_address(option: str, text: str) -> tuple[str, int]:
    """``HOST``, ``HOST:PORT`` or ``[IPv6]:PORT``.

    Raises:
        UsageError: It is none.
    """
    host, separator, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not separator:
        host, port = text, str(DEFAULT_PORT)
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or not port.isdecimal() or not 0 < int(port) < 1 << 16 or (":" in bare and bare == host) or "/" in bare:
        raise UsageError(f"{option} {text}: expected HOST:PORT", hint=f"for example 127.0.0.1:{DEFAULT_PORT}")
    return bare, int(port)


def describe_failure(error: Exception) -> str:
    """Why a connection failed, in words."""
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def keep_alive(stream: socket.socket) -> None:
    """Let the system notice within half a minute that the other side is gone without a word, however long both think."""
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PATIENCE.items():
        if hasattr(socket, name):
            stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
