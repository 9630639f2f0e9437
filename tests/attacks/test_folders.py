"""Hostile folders: where data files lie and what they are. Nothing outside the model's folder is ever opened."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper

FLOAT = TensorProto.FLOAT
SECRET = np.array([1234.0, 4321.0], np.float32).tobytes()
INVALID, USAGE = "InvalidModelError", "UsageError"

#: name → (what it makes in the folder, the error it must end in); ``folder/../outside`` holds the secret.
ATTACKS: dict[str, tuple[Callable[[Path], None], str]] = {}


def external(location: str, **entries: object) -> TensorProto:
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def model(tensor: TensorProto) -> onnx.ModelProto:
    """y = x + w with ``w`` beside the model."""
    values = [helper.make_tensor_value_info(name, FLOAT, [2]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", values[:1], values[1:], [tensor])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def save(folder: Path, location: str = "w.bin", **entries: object) -> None:
    (folder / "model.onnx").write_bytes(model(external(location, **entries)).SerializeToString())


def attack_of(expected: str = INVALID) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    def register(build: Callable[[Path], None]) -> Callable[[Path], None]:
        ATTACKS[build.__name__.replace("_", " ")] = (build, expected)
        return build

    return register


def located(name: str, location: str | Callable[[Path], str]) -> None:
    ATTACKS[name] = (
        lambda folder: save(folder, location if isinstance(location, str) else location(folder)),
        INVALID,
    )


located("above", "../outside/secret.bin")
located("far above", "../" * 40 + "etc/hostname")
located("down and up", "sub/../../outside/secret.bin")
located("down and up with backslashes", "sub\\..\\..\\outside\\secret.bin")
located("absolute", lambda folder: str(folder.parent / "outside" / "secret.bin"))
located("absolute of the system", "/etc/hostname")
located("absolute of Windows", "C:\\secret.bin")
located("a share of Windows", "\\\\server\\share\\secret.bin")
located("relative to a drive", "C:secret.bin")
located("a name with a zero in it", "w.bin\0.txt")
located("the folder itself", ".")
located("the folder above", "..")
located("missing", "nothing.bin")
located("the runtime's address of memory", "*/_ORT_MEM_ADDR_/*")
located("a URL", "file:///etc/hostname")
located("a home", "~/.ssh/id_rsa")
located("a name of a megabyte", "w" * 1_000_000)
located("an environment", "/proc/self/environ")


@attack_of()
def link_to_a_file_outside(folder: Path) -> None:
    save(folder)
    (folder / "w.bin").symlink_to(folder.parent / "outside" / "secret.bin")


@attack_of()
def link_to_a_folder_outside(folder: Path) -> None:
    save(folder, "sub/secret.bin")
    (folder / "sub").symlink_to(folder.parent / "outside")


@attack_of()
def link_to_a_link_outside(folder: Path) -> None:
    save(folder)
    (folder / "hop").symlink_to("../outside/secret.bin")
    (folder / "w.bin").symlink_to("hop")


@attack_of()
def link_to_a_sister_of_like_name(folder: Path) -> None:
    save(folder)
    sister = folder.with_name(folder.name + "-too")
    sister.mkdir()
    (sister / "secret.bin").write_bytes(SECRET)
    (folder / "w.bin").symlink_to(sister / "secret.bin")


@attack_of()
def links_in_a_circle(folder: Path) -> None:
    save(folder)
    (folder / "a").symlink_to("w.bin")
    (folder / "w.bin").symlink_to("a")


@attack_of()
def link_to_the_process(folder: Path) -> None:
    save(folder)
    (folder / "w.bin").symlink_to("/proc/self/environ")


@attack_of()
def link_to_endless_zeros(folder: Path) -> None:
    save(folder)
    (folder / "w.bin").symlink_to("/dev/zero")


@attack_of()
def hard_link(folder: Path) -> None:
    save(folder)
    os.link(folder.parent / "outside" / "secret.bin", folder / "w.bin")


@attack_of()
def pipe_as_data(folder: Path) -> None:
    save(folder)
    os.mkfifo(folder / "w.bin")


@attack_of()
def socket_as_data(folder: Path) -> None:
    save(folder)
    bound(folder, "w.bin")


@attack_of()
def folder_as_data(folder: Path) -> None:
    save(folder)
    (folder / "w.bin").mkdir()


@attack_of()
def empty_data(folder: Path) -> None:
    save(folder)
    (folder / "w.bin").touch()


@attack_of()
def data_one_byte_short(folder: Path) -> None:
    save(folder)
    (folder / "w.bin").write_bytes(SECRET[:-1])


@attack_of()
def offset_behind_the_end(folder: Path) -> None:
    save(folder, offset=4)
    (folder / "w.bin").write_bytes(SECRET)


@attack_of()
def offset_that_overflows(folder: Path) -> None:
    save(folder, offset=2**63 - 4)
    (folder / "w.bin").write_bytes(SECRET)


@attack_of()
def attribute_above(folder: Path) -> None:
    proto = model(external("w.bin"))
    del proto.graph.initializer[:]
    constant = proto.graph.node.add(op_type="Constant", output=["w"])
    constant.attribute.add(name="value", type=AttributeProto.TENSOR).t.CopyFrom(external("../outside/secret.bin"))
    proto.graph.node.insert(0, proto.graph.node.pop())
    (folder / "model.onnx").write_bytes(proto.SerializeToString())


@attack_of()
def branch_above(folder: Path) -> None:
    proto = model(external("w.bin"))
    proto.graph.initializer[0].CopyFrom(helper.make_tensor("c", TensorProto.BOOL, [], [True]))
    value = helper.make_tensor_value_info("w", FLOAT, [2])
    inner = helper.make_graph([], "inner", [], [value], [external("../outside/secret.bin")])
    branch = helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner)
    proto.graph.node.insert(0, branch)
    (folder / "model.onnx").write_bytes(proto.SerializeToString())


@attack_of()
def function_above(folder: Path) -> None:
    proto = model(external("w.bin"))
    del proto.graph.initializer[:]
    constant = helper.make_node("Constant", [], ["k"])
    constant.attribute.add(name="value", type=AttributeProto.TENSOR).t.CopyFrom(external("../outside/secret.bin"))
    proto.functions.append(helper.make_function("local", "K", [], ["k"], [constant], [helper.make_opsetid("", 17)]))
    proto.opset_import.add(domain="local", version=1)
    proto.graph.node.insert(0, helper.make_node("K", [], ["w"], domain="local"))
    (folder / "model.onnx").write_bytes(proto.SerializeToString())


@attack_of()
def cache_whose_model_is_no_link(folder: Path) -> None:
    """Hugging Face's folders by name, but a model of the attacker's own that points at a blob."""
    blobs = folder.parent / "blobs"
    blobs.mkdir()
    (blobs / "secret").write_bytes(SECRET)
    save(folder)
    (folder / "w.bin").symlink_to("../blobs/secret")


@attack_of()
def model_is_a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "model.onnx")


@attack_of()
def model_is_a_folder(folder: Path) -> None:
    (folder / "model.onnx").mkdir()


@attack_of()
def model_is_a_socket(folder: Path) -> None:
    bound(folder, "model.onnx")


@attack_of()
def model_is_endless_zeros(folder: Path) -> None:
    (folder / "model.onnx").symlink_to("/dev/zero")


@attack_of()
def model_is_a_terminal(folder: Path) -> None:
    (folder / "model.onnx").symlink_to("/dev/ptmx")


@attack_of()
def model_is_two_gigabytes_of_holes(folder: Path) -> None:
    with open(folder / "model.onnx", "wb") as file:
        file.truncate(2**31 - 1)


@attack_of()
def model_is_a_terabyte_of_holes(folder: Path) -> None:
    with open(folder / "model.onnx", "wb") as file:
        file.truncate(2**40)


@attack_of(USAGE)
def model_is_a_broken_link(folder: Path) -> None:
    (folder / "model.onnx").symlink_to("nowhere")


@attack_of(USAGE)
def model_is_missing(folder: Path) -> None:
    pass


def bound(folder: Path, name: str) -> None:
    """A socket; its path may be too long for the call, a name alone is not."""
    here = os.getcwd()
    os.chdir(folder)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(name)
    os.chdir(here)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.bin").write_bytes(SECRET)
    (tmp_path / "snapshots").mkdir()
    return tmp_path / "snapshots"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("form", ["here", "path", "name", "bytes"])
@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_outside_the_folder_is_read(name, form, attack, folder):
    build, expected = ATTACKS[name]
    build(folder)
    before = sorted(os.listdir(folder))
    if form == "bytes" and (folder / "model.onnx").is_file() and (folder / "model.onnx").stat().st_size > 1e9:
        pytest.skip("two gigabytes of holes are a file's trick")
    told = attack(folder, form)
    assert told["outcome"] == (INVALID if form == "bytes" else expected), told
    assert told["message"].isprintable()
    assert len(told["message"]) <= 500
    assert {path for path in told["opened"] if not path.startswith(f"{folder}{os.sep}")} == set(), told["opened"]
    assert sorted(os.listdir(folder)) == before


def test_what_is_inside_the_folder_is_read(attack, folder):
    save(folder, "sub/w.bin", offset=4, length=8)
    (folder / "sub").mkdir()
    (folder / "sub" / "real.bin").write_bytes(b"skip" + SECRET)
    (folder / "sub" / "w.bin").symlink_to("real.bin")
    for form in ("path", "name"):
        told = attack(folder, form)
        assert (told["outcome"], told.get("sum")) == ("loaded", 5555.0), told
    assert attack(folder, "bytes")["hint"] == "load the model by its path"


def test_a_hard_link_is_read_when_it_is_allowed(attack, folder):
    ATTACKS["hard link"][0](folder)
    told = attack(folder, "path", allow_hardlinks=True)
    assert (told["outcome"], told.get("sum")) == ("loaded", 5555.0), told


@pytest.mark.parametrize("deep", ["", "onnx"])
def test_the_cache_of_hugging_face_is_read(attack, tmp_path, deep):
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "0123abc" / deep
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    save(blobs)
    (blobs / "model.onnx").rename(blobs / "0a1b")
    (blobs / "2c3d").write_bytes(SECRET)
    up = "../../../blobs" if deep else "../../blobs"
    (snapshot / "model.onnx").symlink_to(f"{up}/0a1b")
    (snapshot / "w.bin").symlink_to(f"{up}/2c3d")
    for form in ("path", "name"):
        told = attack(snapshot, form)
        assert (told["outcome"], told.get("sum")) == ("loaded", 5555.0), told
    (snapshot / "w.bin").unlink()
    (tmp_path / "models--a--b" / "secret").write_bytes(SECRET)
    (snapshot / "w.bin").symlink_to(tmp_path / "models--a--b" / "secret")
    assert attack(snapshot, "path")["outcome"] == INVALID


def test_there_are_enough_of_them():
    assert len(ATTACKS) >= 40
