"""Model files: the only code that opens or writes one.

What is loaded is private, checked and whole: tensors beside the model are views of mapped files, so they cost no memory
until they are read and stay what they were when the files are replaced. What is written is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple, Union

import onnx
import onnx_ir as ir

from onnxslim.core.errors import InvalidModelError, LimitError, OnnxslimError, UsageError
from onnxslim.model_io import atomic_write, serialization, tensors
from onnxslim.model_io.external_data import data_reader, data_writer
from onnxslim.model_io.external_data.data_reader import release
from onnxslim.model_io.message_pieces import count_bytes, iter_bytes, to_bytes
from onnxslim.model_io.serialization import clone, to_bytes_without_weights

#: What is opened or written here, and what this door passes on from the modules behind it.
__all__ = [
    "ModelLike",
    "clone",
    "count_bytes",
    "count_tensor_bytes",
    "find_data_files",
    "iter_bytes",
    "load",
    "release",
    "save",
    "save_for_runtime",
    "size_on_disk",
    "to_bytes",
    "to_bytes_without_weights",
    "trust_files",
]

#: What every public function takes as a model.
ModelLike = Union[str, "os.PathLike[str]", bytes, onnx.ModelProto, ir.Model]

#: From this many bytes of tensors on they are written beside the model: one message holds 2 GB, the graph included.
INLINE_LIMIT = 1_800_000_000
#: From this many on the runtime is given them in a file, which it maps: of a message it makes several copies. Windows
#: deletes no file that is mapped.
MAPPED_LIMIT = INLINE_LIMIT if os.name == "nt" else 200_000_000

#: What the system answers where a resource of it is used up.
FULL_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE)

#: In a loaded model's ``meta``: the file that it came from, and those with its data.
_FILES_KEY = "onnxslim files"
_MAX_ERROR_LENGTH = 500  # letters of an error


class _TrustOptions(NamedTuple):
    allow_hardlinks: bool = False
    max_memory: int | None = None


_trust: contextvars.ContextVar[_TrustOptions] = contextvars.ContextVar("trust", default=_TrustOptions())  # noqa: B039


@contextlib.contextmanager
def trust_files(*, allow_hardlinks: bool = False, max_memory: int | None = None) -> Iterator[None]:
    """Inside the block, and in this thread, every file is read with these arguments of :func:`load` where it has none.

    For whoever trusts a file that is opened further down, by a function that takes models by their path.
    """
    token = _trust.set(_TrustOptions(allow_hardlinks, max_memory))
    try:
        yield
    finally:
        _trust.reset(token)


def load(source: ModelLike, *, allow_hardlinks: bool | None = None, max_memory: int | None = None) -> ir.Model:
    """Return ``source`` as a private :class:`onnx_ir.Model`; of one passed in the arrays are shared, nothing else.

    Args:
        source: A path, a serialised ModelProto, a ModelProto, or an onnx_ir.Model.
        allow_hardlinks: Take data files that have a second name. A hard link brings any file of the same disk into the
            model's folder and looks like a plain one, so by default (and outside :func:`trust_files`) it is refused.
        max_memory: Bytes that reading the file may take, by default 2.5 GB; data beside it are mapped and do not count.

    Raises:
        UsageError: The file does not exist or cannot be read.
        InvalidModelError: Not a valid ONNX model, or it reads data outside its own folder.
        UnsupportedError: An IR version, opset, op or type that is not read here.
        LimitError: Reading the file takes more than ``max_memory``.
    """
    allow_hardlinks = _trust.get().allow_hardlinks if allow_hardlinks is None else allow_hardlinks
    max_memory = _trust.get().max_memory if max_memory is None else max_memory
    if isinstance(source, ir.Model):
        with _name_in_errors("the model"):
            model = serialization.clone(source)
            _map_external_data(model, lambda tensor: os.path.abspath(tensor.base_dir), None, allow_hardlinks)
            return model
    if isinstance(source, (bytes, onnx.ModelProto)):
        with _name_in_errors("the model"):
            proto = serialization.parse(source, max_memory) if isinstance(source, bytes) else source
            model = serialization.build_model(proto)
            _map_external_data(model, _refuse_external_data, None, allow_hardlinks)
            return model
    if not isinstance(source, (str, os.PathLike)):
        raise UsageError(f"a path, bytes, a ModelProto or an onnx_ir.Model is expected, not a {type(source).__name__}")
    _check_name(os.fspath(source))
    with _name_in_errors(os.fspath(source)):
        path = os.path.abspath(source)
        model = serialization.build_model(_read_proto(path, max_memory))
        blobs = data_reader.find_blob_store(path)
        files = _map_external_data(model, lambda _: os.path.dirname(path), blobs, allow_hardlinks)
        model.meta[_FILES_KEY] = [path, *files]
        return model


def size_on_disk(path: str | os.PathLike[str], loaded: ir.Model | None = None) -> int:
    """Bytes of the model at ``path`` and of the data files it refers to, each once.

    Args:
        path: Of a model.
        loaded: What was loaded, perhaps from there: then the file need not be read again.

    Raises:
        UsageError: A file does not exist or cannot be read.
        InvalidModelError: Not a model, or its data are outside its own folder.
    """
    _check_name(os.fspath(path))
    with _name_in_errors(os.fspath(path)):
        known: list[str] = [] if loaded is None else loaded.meta.get(_FILES_KEY, [])
        is_known = known[:1] == [os.path.abspath(path)]
        return sum(
            map(os.path.getsize, set(known) if is_known else {os.path.abspath(path), *find_data_files(path).values()})
        )


def find_data_files(path: str | os.PathLike[str]) -> dict[str, str]:
    """The data files that the model at ``path`` refers to: as the model spells each, and the real path of it.

    Raises:
        UsageError: The file does not exist or cannot be read.
        InvalidModelError: Not a model, or its data are outside its own folder.
    """
    _check_name(os.fspath(path))
    with _name_in_errors(os.fspath(path)):
        path = os.path.abspath(path)
        folder, blobs = os.path.dirname(path), data_reader.find_blob_store(path)
        model_tensors = tensors.iter_tensors(serialization.build_model(_read_proto(path, _trust.get().max_memory)))
        labels = {os.fspath(t.location): f"tensor '{t.name}'" for t in model_tensors if isinstance(t, ir.ExternalTensor)}
        return {location: data_reader.locate(location, folder, label, blobs=blobs) for location, label in labels.items()}


def save(
    model: ir.Model,
    path: str | os.PathLike[str],
    *,
    external_data: bool | None = None,
    check: Callable[[str], object] | None = None,
) -> None:
    """Write ``model`` to ``path`` atomically: after any failure the old file, and the data it refers to, are whole.

    A link is followed, permissions are kept. Data beside the model have a name made of their content; those of the
    model that was replaced are removed if this function wrote them and no other model in the folder refers to them.

    Args:
        model: What to write; it is not changed.
        path: The destination; it may be the file the model was loaded from.
        external_data: True writes the tensors beside the model, False inside; None decides by size (1.8 GB).
        check: Called with the path of the whole file before it takes its place; where it raises, nothing is written.

    Raises:
        UsageError: The folder does not exist or cannot be written to, or ``path`` is not a file's.
        LimitError: The disk is full, or the model is too large for one message.
        InvalidModelError: The graph is broken, or an initializer has no value.
    """
    name = os.fspath(path)
    _check_name(name)
    target = os.path.realpath(name)
    if external_data is None:
        external_data = count_tensor_bytes(model) > INLINE_LIMIT
    if os.path.exists(target) and not os.path.isfile(target):
        raise UsageError(f"{name}: not a file")
    if os.path.islink(name) and data_reader.find_blob_store(name) is not None:
        raise UsageError(f"{name}: a link into a cache whose files are shared", hint="write to another folder")
    if external_data and os.path.dirname(target) != os.path.realpath(os.path.dirname(os.path.abspath(name))):
        text = f"{name}: a link into another folder, through which data beside the model would not be found"
        raise UsageError(text, hint=f"write to {target}")
    with _name_in_errors(name):
        _write_atomically(model, target, external_data, check)


def save_for_runtime(model: ir.Model, folder: str) -> str:
    """Write ``model`` into a ``folder`` of our own that goes when the runtime has read it, and return the path.

    Tensors are beside it from :data:`MAPPED_LIMIT` bytes on, and nothing waits for the disk.

    Raises:
        UsageError: The folder does not exist or cannot be written to.
        LimitError: The disk is full, or the model is too large for one message.
        InvalidModelError: The graph is broken, or an initializer has no value.
    """
    path = os.path.join(folder, "model.onnx")
    with _name_in_errors("the model"):
        locations: data_writer.TensorLocations = {}
        data_name = ""
        if count_tensor_bytes(model) >= MAPPED_LIMIT:
            with atomic_write.open_draft(folder) as draft:
                locations, data_name = data_writer.write_tensors([model], draft)
                draft.publish(os.path.join(folder, data_name), sync=False)
        with open(path, "wb") as file:
            file.writelines(_iter_message(model, locations, data_name))
    return path


def _iter_message(model: ir.Model, locations: data_writer.TensorLocations, data_name: str) -> Iterator[bytes | memoryview]:
    """The pieces of the message beside which the tensors of ``locations`` are in a file ``data_name``."""
    return iter([serialization.to_bytes(model, locations, data_name)]) if locations else iter_bytes(model)


def count_tensor_bytes(model: ir.Model) -> int:
    """Bytes of all tensors of ``model``, as a file holds them."""
    return sum(map(tensors.nbytes, tensors.iter_tensors(model)))


@contextlib.contextmanager
def _name_in_errors(name: str) -> Iterator[None]:
    """Begin every error with the model it is about, and give those of the system their type."""
    try:
        yield
    except OnnxslimError as error:
        raise type(error)(_make_printable(f"{name}: {error.message}"), hint=error.hint) from error.__cause__
    except RecursionError:
        raise InvalidModelError(f"{name}: its graphs or types are nested too deeply") from None
    except MemoryError:
        raise LimitError(f"{name}: not enough memory") from None
    except OSError as error:
        text = f"{name}: {os.strerror(error.errno or errno.EIO)}"
        if error.errno in FULL_DISK_ERRORS:
            raise LimitError(text) from error
        raise UsageError(text) from error


def _check_name(name: str) -> None:
    """Refuse what no system takes as the name of a file; whatever else is no value is a fault of whoever meets it."""
    try:
        is_name = b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        is_name = False
    if not is_name:
        raise UsageError(f"{name!r}: a zero byte or half a character, expected the name of a file")


def _make_printable(text: str) -> str:
    """One printable line: names come from the file, and may be megabytes long or speak to the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_MAX_ERROR_LENGTH])


def _read_proto(path: str, max_memory: int | None) -> onnx.ModelProto:
    descriptor, size = _open_file(path, allow_hardlinks=True)
    try:
        if size == 0:
            raise InvalidModelError("the file is empty")
        if size > serialization.MAX_MESSAGE_BYTES:
            text = f"{size / 1e9:.1f} GB; an ONNX file holds at most 2"
            raise InvalidModelError(text, hint="larger tensors go into external data")
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped:
            return serialization.parse(mapped, max_memory)
    finally:
        os.close(descriptor)


def _map_external_data(
    model: ir.Model, get_folder: Callable[[ir.ExternalTensor], str], blobs: str | None, allow_hardlinks: bool
) -> list[str]:
    """Replace every reference to a data file by a view of the file, each file opened once: here, and never again.

    Returns:
        The real paths of the files.
    """
    files: dict[str, mmap.mmap | None] = {}

    def map_tensor(tensor: ir.TensorProtocol, label: str) -> ir.TensorProtocol:
        if not isinstance(tensor, ir.ExternalTensor):
            return tensor
        path = data_reader.locate(os.fspath(tensor.location), get_folder(tensor), label, blobs=blobs)
        if path not in files:
            files[path] = _map_file(path, label, allow_hardlinks)
        return data_reader.map_tensor(tensor, files[path], label)

    for value in tensors.iter_initializers(model):
        if value.const_value is not None:
            value.const_value = map_tensor(value.const_value, f"initializer '{value.name}'")
    tensors.replace_attribute_tensors(model, map_tensor)
    return list(files)


def _refuse_external_data(tensor: ir.ExternalTensor) -> str:
    text = f"tensor '{tensor.name}' is in a file beside the model, and there is no beside"
    raise InvalidModelError(text, hint="load the model by its path")


def _map_file(path: str, label: str, allow_hardlinks: bool) -> mmap.mmap | None:
    """The whole file at ``path``, read when touched; None for an empty one, which cannot be mapped."""
    try:
        descriptor, size = _open_file(path, allow_hardlinks=allow_hardlinks)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
            raise
        text = f"{label}: its data file '{os.path.basename(path)[:80]}': {os.strerror(error.errno)}"
        raise InvalidModelError(text, hint="it belongs beside the model") from None
    try:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) if size else None
    finally:
        os.close(descriptor)


def _open_file(path: str, *, allow_hardlinks: bool) -> tuple[int, int]:
    """Open a plain file; its descriptor and size.

    Looked at before it is opened, because opening a device may set it in motion; opened without waiting, because a pipe
    that nobody writes to waits for ever; looked at again, because the path may have changed hands in between.
    """
    _check_regular_file(path, os.stat(path))
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        _check_regular_file(path, status)
        if status.st_nlink > 1 and not allow_hardlinks:
            text = f"'{os.path.basename(path)}' is a hard link, which may be to any file of this disk"
            raise InvalidModelError(text, hint="copy it, or take it as it is with --allow-hardlinks")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status.st_size


def _check_regular_file(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, device or socket"
        raise InvalidModelError(f"'{os.path.basename(path)}' is {kind}, not a file")


def _write_atomically(model: ir.Model, target: str, external_data: bool, check: Callable[[str], object] | None) -> None:
    """Write drafts of data and model, then rename both into place, the model last: until then the old one counts."""
    folder = os.path.dirname(target)
    mode = stat.S_IMODE(os.stat(target).st_mode) & 0o777 if os.path.exists(target) else None
    data_writer.remove_leftovers(folder)
    data_files = [] if mode is None else data_writer.find_data_references(target)
    with contextlib.ExitStack() as stack:
        if data_files or external_data:
            stack.enter_context(data_writer.remove_replaced(folder, data_files))
        locations: data_writer.TensorLocations = {}
        data_name = ""
        if external_data:
            data_draft = stack.enter_context(atomic_write.open_draft(folder, mode))
            locations, data_name = data_writer.write_tensors([model], data_draft)
        model_draft = stack.enter_context(atomic_write.open_draft(folder, mode))
        for piece in _iter_message(model, locations, data_name):
            model_draft.write(piece)
        if locations:
            data_files.append(data_name)
            data_draft.publish(os.path.join(folder, data_name))
        if check is not None:
            check(model_draft.path)
        model_draft.publish(target)
