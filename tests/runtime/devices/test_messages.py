"""What travels is what was sent, and nothing that comes from elsewhere is believed."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.runtime.devices import messages

DTYPES = st.sampled_from(["<f4", "<f2", "<f8", "<i8", "<i4", "|i1", "|u1", "|b1", "<c8", "<U3", ">f4"])


def pass_on(header: dict[str, object], blobs: list[bytes]) -> tuple[dict[str, object], list[bytes]]:
    one, other = socket.socketpair()
    with one, other:
        messages.send(one, header, blobs)
        return messages.receive(other)


@given(
    st.dictionaries(st.text(max_size=5), DTYPES.flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_side=0, max_side=4))))
)
def test_arrays_arrive_as_they_were_sent(arrays: dict[str, np.ndarray]) -> None:
    described, blobs = messages.pack_arrays(arrays)
    header, received = pass_on({"arrays": described}, blobs)
    found = messages.unpack_arrays(header["arrays"], received)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


def test_a_line_however_slow_is_waited_for_by_the_part() -> None:
    """A timeout is of one part, so that what a large model takes on a slow line is no silence of the other side."""

    class Line:
        def __init__(self) -> None:
            self.sent: list[int] = []

        def sendall(self, part: memoryview) -> None:
            self.sent.append(len(part))

    line = Line()
    messages.send(line, {}, [bytes(1_000_000), bytes(3)])  # type: ignore[arg-type]
    assert sum(line.sent) > 1_000_003
    assert max(line.sent) <= 1 << 16


def test_texts_travel_and_other_objects_do_not() -> None:
    described, blobs = messages.pack_arrays({"x": np.array(["a", "bcd"], object)})
    assert messages.unpack_arrays(described, blobs)["x"].tolist() == ["a", "bcd"]
    with pytest.raises(UnsupportedError, match="input x is"):
        messages.pack_arrays({"x": np.zeros(2, "V2")})


@pytest.mark.parametrize(
    "change",
    [{"dtype": "|O"}, {"dtype": "no"}, {"shape": [3]}, {"shape": [-1, -2]}, {"shape": "x"}, {"dtype": "V4"}, {"name": None}],
)
def test_a_description_that_does_not_fit_is_refused(change: dict[str, object]) -> None:
    (entry,), blobs = messages.pack_arrays({"x": np.zeros(2, np.float32)})
    entry |= change
    if entry["name"] is None:
        del entry["name"]
    with pytest.raises(messages.ProtocolError):
        messages.unpack_arrays([entry], blobs)


def _frame(header: object) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("!4sI", b"OSW1", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        struct.pack("!4sI", b"OSW1", 1 << 31),
        struct.pack("!4sI", b"OSW1", 2) + b"{x",
        _frame([]),
        _frame({"blobs": 3}),
        _frame({"blobs": [-1]}),
        _frame({"blobs": [1 << 60]}),
    ],
)
def test_what_is_no_frame_is_refused_before_anything_is_allocated(content: bytes) -> None:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(content)
        with pytest.raises(messages.ProtocolError):
            messages.receive(other)


@pytest.mark.parametrize("content", [_frame({"blobs": [1]}), struct.pack("!4sI", b"OSW1", messages.MAX_GREETING_BYTES + 1)])
def test_who_has_not_proved_anything_yet_sends_a_short_header_alone(content: bytes) -> None:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(content)
        with pytest.raises(messages.ProtocolError):
            messages.receive(other, greeting=True)


def test_any_text_can_be_a_token_and_a_nonce() -> None:
    asked = [(token, nonce, role) for token in ("a", "\ud800") for nonce in ("b", "\udc80") for role in ("search", "worker")]
    assert len({messages.answer_challenge(*one) for one in asked}) == 8  # type: ignore[arg-type]


def test_an_end_in_the_middle_is_one() -> None:
    one, other = socket.socketpair()
    with other:
        with one:
            one.sendall(_frame({"blobs": [5]}) + b"123")
        with pytest.raises(EOFError):
            messages.receive(other)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("host", ("host", messages.DEFAULT_PORT)),
        ("host:80", ("host", 80)),
        ("[::1]:80", ("::1", 80)),
        ("[::1]", ("::1", messages.DEFAULT_PORT)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert messages.parse_address("--on", text) == address


@pytest.mark.parametrize("text", ["", ":80", "host:", "host:x", "host:0", "host:70000", "::1", "ray://host:80", "host:-1"])
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="expected HOST:PORT"):
        messages.parse_address("--on", text)


def test_the_token_is_of_the_environment_or_of_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(messages.TOKEN_VARIABLE, raising=False)
    monkeypatch.delenv(messages.TOKEN_FILE_VARIABLE, raising=False)
    assert messages.read_token() is None
    file = tmp_path / "token"
    monkeypatch.setenv(messages.TOKEN_FILE_VARIABLE, str(file))
    with pytest.raises(UsageError, match="No such file"):
        messages.read_token()
    file.write_text("\n")
    with pytest.raises(UsageError, match="empty"):
        messages.read_token()
    file.write_text("of the file\n")
    assert messages.read_token() == "of the file"
    monkeypatch.setenv(messages.TOKEN_VARIABLE, "of the environment")
    assert messages.read_token() == "of the environment"
