"""Array files that lie, are broken, or never end."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.core.errors import InvalidDataError, LimitError, OnnxslimError, UsageError
from onnxslim.data.array_files import MAX_SAMPLE_BYTES, open_npy, open_npz


def npy(shape: tuple[int, ...], body: bytes = b"", descr: str = "<f4") -> bytes:
    """An ``.npy`` whose header promises ``shape`` and whose body is ``body``."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return out.getvalue() + body


def archive(path: Path, compression: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


@pytest.fixture(autouse=True)
def _no_large_allocation() -> Iterator[None]:
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize("shape", [(10**12,), (1, 10**12), (10**6, 10**6, 10**6), (2**63, 2**63)])
def test_a_header_that_promises_more_than_is_there_is_refused_before_anything_is_allocated(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    (tmp_path / "a.npy").write_bytes(npy(shape, b"\0" * 64))
    with pytest.raises(InvalidDataError, match=r"header promises .* bytes, 64 are there"):
        open_npy(tmp_path / "a.npy")
    with pytest.raises(InvalidDataError, match=r"'x' of .*header promises"):
        open_npz(archive(tmp_path / "a.npz", x=npy(shape, b"\0" * 64)))


def test_the_length_of_a_header_is_doubted_before_it_is_read(tmp_path: Path) -> None:
    content = bytearray(npy((4,), b"\0" * 16))
    content[6] = 2  # version 2 counts the header in four bytes, of which two are now its first letters: 660 MB
    (tmp_path / "a.npy").write_bytes(content)
    for open_file in (lambda: open_npy(tmp_path / "a.npy"), lambda: open_npz(archive(tmp_path / "a.npz", x=bytes(content)))):
        with pytest.raises(InvalidDataError, match=r"is not a \.npy array"):
            open_file()


def test_a_size_that_deflate_cannot_reach_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, x=npy((10**9,), b"\0" * 64))
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\1\2")
    data[entry + 24 : entry + 28] = (0xFFFFFFF0).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InvalidDataError, match="promises 4294967280 bytes in"):
        open_npz(path)


def test_a_bomb_of_one_huge_sample_or_of_countless_tiny_ones_hits_a_limit(tmp_path: Path) -> None:
    body = tmp_path / "big.npy"
    for shape, message in (((1, MAX_SAMPLE_BYTES + 1), "bytes a sample"), ((10**8, 1), "100000000 samples")):
        header = npy(shape, descr="|u1")
        with open(body, "wb") as file:
            file.write(header)
            file.truncate(len(header) + int(np.prod(shape)))
        with pytest.raises(LimitError, match=message):
            open_npy(body)


def test_a_file_that_shrinks_or_is_corrupted_after_it_was_opened_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 8)))
    column = open_npy(tmp_path / "a.npy")
    assert not isinstance(column, np.ndarray)
    os.truncate(tmp_path / "a.npy", 200)
    with pytest.raises(InvalidDataError, match=r"a\.npy ends 184 bytes early"):
        list(column.read([np.arange(4)]))
    np.savez_compressed(tmp_path / "a.npz", x=np.random.default_rng(0).standard_normal((400, 8)))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[5000:5040] = b"\0" * 40
    (tmp_path / "a.npz").write_bytes(data)
    members = open_npz(tmp_path / "a.npz")
    for order in (np.arange(400), np.arange(400)[::-1]):
        column = members["x"]
        assert not isinstance(column, np.ndarray)
        with pytest.raises(InvalidDataError, match=r"'x' of .*cannot be read"):
            list(column.read([order]))


class Bomb:
    """Unpickling it leaves a trace."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("unpickled",))


def test_pickled_arrays_are_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    np.savez("a.npz", x=np.array([Bomb()], dtype=object), allow_pickle=True)
    Path("b.npy").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InvalidDataError, match="pickled"):
        open_npy("a.npy")
    with pytest.raises(InvalidDataError, match=r"'x' of a.npz is pickled"):
        open_npz("a.npz")
    with pytest.raises(InvalidDataError, match=r"not a .npy array"):
        open_npy("b.npy")
    assert not Path("unpickled").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a .npy array"),
        (b"\x93NUMPY", "not a .npy array"),
        (b"\x93NUMPY\x09\x09aaaa", "not a .npy array"),
        (npy((4,))[:40], "not a .npy array"),
        (npy((-4,)), "structured|not a .npy"),
        (npy((1,), b"\0" * 8, descr="<f4,<f4"), "structured|not a .npy"),
    ],
)
def test_what_is_no_array_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InvalidDataError, match=message):
        open_npy(tmp_path / "a.npy")


def test_what_is_no_archive_of_arrays_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK nothing")
    with pytest.raises(InvalidDataError, match="cannot be read"):
        open_npz(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=np.zeros(3))
    (tmp_path / "b.npz").write_bytes((tmp_path / "b.npz").read_bytes()[:-30])
    with pytest.raises(InvalidDataError, match="cannot be read"):
        open_npz(tmp_path / "b.npz")
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(InvalidDataError, match=r"'readme\.txt' of .*not an array"):
        open_npz(tmp_path / "c.npz")
    with pytest.raises(InvalidDataError, match="compressed in a way"):
        open_npz(archive(tmp_path / "d.npz", zipfile.ZIP_BZIP2, x=npy((1,), b"\0" * 4)))


def test_pipes_and_devices_are_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(InvalidDataError, match="not a regular file"):
        open_npy(tmp_path / "a.npy")
    with pytest.raises(InvalidDataError, match="not a regular file"):
        open_npz("/dev/zero")
    with pytest.raises(UsageError, match="No such file"):
        open_npy(tmp_path / "missing.npy")


def test_any_cut_of_a_good_file_gives_a_typed_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 4), np.float32))
    data = (tmp_path / "a.npz").read_bytes()
    for end in range(0, len(data), 7):
        (tmp_path / "b.npz").write_bytes(data[:end])
        with pytest.raises(OnnxslimError):
            open_npz(tmp_path / "b.npz")


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["a.npz", "b.npz", "c.npy"]), st.data())
def test_any_change_of_a_good_file_reads_or_gives_a_typed_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.savez(folder / "a.npz", x=array)
    np.savez_compressed(folder / "b.npz", x=array)
    np.save(folder / "c.npy", array)
    content = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(content)
    try:
        found = open_npz(folder / name) if name.endswith("npz") else {"x": open_npy(folder / name)}
        for column in found.values():
            if not isinstance(column, np.ndarray):
                list(column.read([np.arange(len(column))]))
    except OnnxslimError:
        pass


def test_a_zero_dimensional_array_is_itself(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", sr=np.array(16000))
    assert open_npz(tmp_path / "a.npz")["sr"] == np.array(16000)


def test_an_archive_whose_names_are_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, x=np.ones((3, 4), np.float32))
    data = path.read_bytes()
    directory = data.rindex(b"PK\x01\x02")
    broken = bytearray(data)
    broken[directory + 8 : directory + 10] = (0x800).to_bytes(2, "little")  # "the name is UTF-8"
    broken[directory + 46] = 0xFF  # which this is not
    path.write_bytes(bytes(broken))
    with pytest.raises(InvalidDataError, match=r"x\.npz cannot be read"):
        open_npz(str(path))
