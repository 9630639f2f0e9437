"""Does the runtime load it? Asked as production asks: at the default optimisation level, from the file, and in a process
of its own, because what the runtime fuses while it loads can fail where the unoptimised graph does not, or end the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import onnx_ir as ir
import onnxruntime as ort

from onnxslim.core.errors import InvalidModelError, LimitError, OnnxslimError, UnsupportedError, UsageError
from onnxslim.model_io import model_file
from onnxslim.runtime.error_translation import make_library_error, translate_text
from onnxslim.runtime.isolation import LOADING_CHILD, ask_child
from onnxslim.runtime.providers import parse_provider
from onnxslim.runtime.session_config import SessionConfig, available_providers, build_request, check_active

logger = logging.getLogger(__name__)

#: The session entry that leaves fusions of the runtime out, by name, and those that have been seen to end the process.
DISABLED_OPTIMIZERS_ENTRY = "optimization.disable_specified_optimizers"
_SUSPECT_OPTIMIZERS = ("MatmulTransposeFusion", "TransposeOptimizer", "CastFloat16Transformer")

#: What says that the runtime does not take a model; any other error, that nothing here could tell.
_REFUSALS = (InvalidModelError, UnsupportedError)

#: Of a model that is refused at the default level alone.
UNOPTIMIZED_HINT = "it loads with the runtime's optimisation off (ORT_DISABLE_ALL); `onnxslim simplify` may mend it"

#: Models of this process that have been loaded in a child, by their content and how.
_survived: set[str] = set()


def check_file_loads(path: str | os.PathLike[str], config: SessionConfig | None = None) -> None:
    """Load the file at ``path`` in a process of its own, and raise what the runtime raises there.

    Raises:
        UnsupportedError: The runtime's process dies of it (the message says how); an op or a provider is not here.
        InvalidModelError: The runtime refuses it; the hint says so where it takes it without optimisation.
        OnnxslimError: As :class:`~onnxslim.runtime.session.Session` raises.
    """
    config = config or SessionConfig()
    try:
        _load_in_child(path, config)
    except _REFUSALS as error:
        with contextlib.suppress(LimitError):
            if config.optimize and error.hint is None and loads(path, config.with_(optimize=False)):
                error.hint = UNOPTIMIZED_HINT
        raise


def holds_half_floats(model: ir.Model) -> bool:
    """Whether something in ``model`` is float16 or bfloat16, as far as its types and its Casts say."""
    halves = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    cast_to = {node.attributes.get_int("to", 0) for graph in model.graphs() for node in graph if node.op_type == "Cast"}
    return bool(cast_to.intersection(halves)) or any(
        value.dtype in halves
        for graph in model.graphs()
        for values in (graph.inputs, graph.initializers.values(), *(node.outputs for node in graph))
        for value in values
    )


def check_survives(model: ir.Model, config: SessionConfig | None = None, *, name: str = "the model") -> None:
    """Refuse a model that ends the runtime's process when it is loaded; what the runtime merely refuses is not asked here.

    For whoever runs what a stranger gave, before the first optimised session of it. The second time costs nothing.

    Args:
        model: What is going to be run.
        config: How.
        name: What it is called in the error.

    Raises:
        UnsupportedError: It does.
    """
    config = config or SessionConfig()
    try:
        with _as_file(model) as path:
            key = _make_key(path, config)
            if key not in _survived:
                _load_in_child(path, config, name)
                _survived.add(key)
    except DiedError:
        raise
    except OnnxslimError as error:
        logger.debug("not loaded in a process of its own: %s", error.message)


def save_checked(
    model: ir.Model,
    path: str | os.PathLike[str],
    original: model_file.ModelLike | None = None,
    config: SessionConfig | None = None,
    *,
    external_data: bool | None = None,
    check: Callable[[str], object] | None = None,
) -> str | None:
    """Write ``model`` to ``path`` if the runtime loads the file: every command that makes a model writes it so.

    Args:
        model: What to write.
        path: Where; see :func:`~onnxslim.model_io.model_file.save`.
        original: What it was made of.
        config: How sessions run here.
        external_data: See :func:`~onnxslim.model_io.model_file.save`.
        check: Likewise, of a file that loads.

    Returns:
        A warning where the runtime takes neither this file nor the original, or where there is not enough memory to load
        it once more, so that nothing here can tell.

    Raises:
        UnsupportedError: The runtime loads the original, and not this; nothing was written.
        OnnxslimError: As :func:`~onnxslim.model_io.model_file.save` raises.
    """
    config, warnings = config or SessionConfig(), list[str]()

    def check_draft(draft: str) -> None:
        try:
            _load_in_child(draft, config)
        except LimitError as error:
            warnings.append(f"the result was not tried: {error.message}")
        except OnnxslimError as error:
            if original is None or loads(original, config):
                hint = error.hint or "please report it, with the command and, if you can, the model"
                raise UnsupportedError(f"nothing was written: of the result {error.message}", hint=hint) from error
            way_out = f" ({error.hint})" if isinstance(error, DiedError) else ""
            warnings.append(f"the result could not be tried, nor could the original: {error.message}{way_out}")
        if check is not None:
            check(draft)

    model_file.save(model, path, external_data=external_data, check=check_draft)
    return warnings[0] if warnings else None


class DiedError(UnsupportedError):
    """The runtime's process ended while it loaded the model."""


def _load_in_child(path: str | os.PathLike[str], config: SessionConfig, name: str = "the model") -> None:
    request = build_request(config)
    answer = _ask(path, request)
    if answer.get("died", "").startswith("signal 9 "):  # nothing in the runtime sends it; the system does
        raise LimitError(f"the process that loaded {name} was killed, which is what happens where memory runs out")
    if "died" in answer:
        context = "while it optimised" if config.optimize else "while it loaded"
        raise DiedError(
            f"onnxruntime {ort.__version__} died {context} {name}: {answer['died']}",
            hint=_find_way_out(path, request) if config.optimize else None,
        )
    if "library" in answer:
        raise make_library_error(answer["library"], answer["text"])
    if "error" in answer:
        at = "" if config.optimize else ", with its optimisation off"
        raise translate_text(answer["error"], answer["text"], f"the runtime refuses {name}{at}")
    check_active(parse_provider(config.provider, available_providers()), answer["providers"])


def _ask(path: str | os.PathLike[str], request: dict[str, Any]) -> dict[str, Any]:
    return ask_child(LOADING_CHILD, {**request, "model": os.path.abspath(path)})


def _find_way_out(path: str | os.PathLike[str], request: dict[str, Any]) -> str:
    """What a caller can do about a fusion that ends the process."""
    for optimizer in _SUSPECT_OPTIMIZERS:
        entries = {**request["session_options"], DISABLED_OPTIMIZERS_ENTRY: optimizer}
        if "died" not in _ask(path, {**request, "session_options": entries}):
            return f"it lives with --session-option {DISABLED_OPTIMIZERS_ENTRY}={optimizer}"
    if "died" not in _ask(path, {**request, "optimize": False}):
        return "it lives with the runtime's optimisation off (ORT_DISABLE_ALL)"
    return "another release of onnxruntime may load it"


def loads(model: model_file.ModelLike, config: SessionConfig) -> bool:
    """Whether the runtime loads ``model``, asked in a process of its own.

    Raises:
        LimitError: There is no room for the file that is loaded, or not enough memory: nothing tells.
    """
    try:
        if isinstance(model, (str, os.PathLike)):
            _load_in_child(model, config)
        else:
            with _as_file(model_file.load(model)) as path:
                _load_in_child(path, config)
    except _REFUSALS:
        return False
    return True


@contextlib.contextmanager
def _as_file(model: ir.Model) -> Iterator[str]:
    """The path of a temporary file of ``model``.

    Raises:
        LimitError: There is no room for it.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="onnxslim-"))
            path = model_file.save_for_runtime(model, folder)
        except (LimitError, UsageError, OSError) as error:
            why = error.message if isinstance(error, OnnxslimError) else error.strerror or error
            raise LimitError(
                f"no temporary file can be made to load the model from: {why}", hint="TMPDIR names a folder that has room"
            ) from error
        yield path


def _make_key(path: str, config: SessionConfig) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return f"{digest.hexdigest()} {config}"
