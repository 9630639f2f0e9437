"""A session: one model on one provider, run by name."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from onnxslim.core.errors import InvalidModelError, LimitError, OnnxslimError, UnsupportedError, UsageError
from onnxslim.model_io import model_file
from onnxslim.model_io.graph_names import FREE_INITIALIZERS_IR
from onnxslim.runtime.devices.device import TimedSession, current_device
from onnxslim.runtime.devices.local_session import LocalSession
from onnxslim.runtime.error_translation import translate_error
from onnxslim.runtime.load_check import UNOPTIMIZED_HINT, check_survives, holds_half_floats
from onnxslim.runtime.option_names import check_provider_options, check_session_options
from onnxslim.runtime.providers import CPU, Provider, parse_provider
from onnxslim.runtime.session_config import (
    SessionConfig,
    available_providers,
    build_provider_list,
    make_session_options,
    version,
)
from onnxslim.runtime.zipmap import find_zipmap_outputs, stack_scores

__all__ = [
    "Session",
    "SessionConfig",
    "available_providers",
    "check_loads",
    "make_run_check",
    "open_timed_session",
    "version",
]

#: Initializers of at least so many bytes are handed over in memory where the graph is run as it is. What the optimiser
#: makes of a model may depend on where its weights are, so a session that is timed reads them from the model.
_MIN_SHARED_BYTES = 1 << 20


class Session(LocalSession):
    """An onnxruntime session that runs by name and never falls back in silence.

    A model in half floats is loaded in a process of its own first, where the runtime optimises it: its fusions are written
    for float32, and one of them ends the process.

    Raises:
        InvalidModelError: The runtime refuses the model.
        UnsupportedError: The model needs an op or a provider that is not here, or ends the runtime's process.
        UsageError: An option that the runtime or the provider does not know.
        LimitError: The runtime ran out of memory.
    """

    def __init__(
        self,
        model: ir.Model,
        config: SessionConfig | None = None,
        *,
        profile_prefix: str | None = None,
        optimized_path: str | None = None,
    ) -> None:
        config = config or SessionConfig()
        provider = parse_provider(config.provider, available_providers())
        check_session_options(config.session_options)
        check_provider_options(provider, config.provider_options)
        if config.optimize and holds_half_floats(model):
            check_survives(model, config)
        options = make_session_options(config, profile_prefix, optimized_path)
        started = time.perf_counter()
        try:
            session = _start(model, options, config, provider)
        except InvalidModelError as error:
            if config.optimize and error.hint is None and _loads_unoptimized(model, config):
                error.hint = UNOPTIMIZED_HINT
            raise
        super().__init__(session, config, provider, time.perf_counter() - started)
        self._zipmap_labels = find_zipmap_outputs(model)
        #: As the runtime spells them, ``tensor(float)``; it infers those that the model does not say.
        self.output_types: dict[str, str] = {o.name: o.type for o in self._session.get_outputs()}

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Run once; ``outputs`` (all by default) by name. Tensors come back as arrays, as do the scores of a ZipMap."""
        results = super().run(feeds, outputs)
        for name in self._zipmap_labels.keys() & results.keys():
            results[name] = stack_scores(results[name], self._zipmap_labels[name])
        return results


def _loads_unoptimized(model: ir.Model, config: SessionConfig) -> bool:
    try:
        Session(model, config.with_(optimize=False))
    except OnnxslimError:
        return False
    return True


def _start(model: ir.Model, options: Any, config: SessionConfig, provider: Provider) -> Any:
    """The session; what keeps the provider from starting is told apart from what is wrong with the model."""
    try:
        return _create_session(model, options, build_provider_list(provider, config))
    except InvalidModelError as error:
        if provider.is_cpu:
            raise
        _create_session(model, options, [(CPU, {})])
        raise UnsupportedError(
            f"--provider {config.provider} could not start ({error.message}); on the CPU the model loads",
            hint="`onnxslim doctor` shows what is installed",
        ) from error


def open_timed_session(model: ir.Model, config: SessionConfig | None = None) -> TimedSession:
    """A session for whoever reads the clock or asks what the kernels there do: on the current device, else here."""
    device = current_device()
    return Session(model, config) if device is None else device.open_session(model, config or SessionConfig())


def check_loads(model: ir.Model, config: SessionConfig | None = None) -> None:
    """Raise what the runtime would raise when it loads ``model``; the optimiser is off, so this is quick."""
    Session(model, (config or SessionConfig()).with_(optimize=False))


def make_run_check(
    model: ir.Model, config: SessionConfig | None = None
) -> Callable[[Mapping[str, np.ndarray]], OnnxslimError | None]:
    """A function ``find_error(feeds)`` that says why ``model`` does not run with these inputs, None where it does. The
    session is made when first asked; of a model that the runtime refuses whatever it is fed, that raises.
    """
    sessions: list[Session] = []

    def find_error(feeds: Mapping[str, np.ndarray]) -> OnnxslimError | None:
        sessions[:] = sessions or [Session(model, (config or SessionConfig()).with_(optimize=False))]
        try:
            sessions[0].run(feeds)
        except OnnxslimError as error:
            return error
        return None

    return find_error


def _create_session(model: ir.Model, options: Any, providers: list[tuple[str, dict[str, str]]]) -> Any:
    unoptimized = options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # The runtime drops weights that nothing reads before it looks for those it is handed, and refuses the model then.
    unoptimized = unoptimized and all(v.uses() or v.is_graph_output() for v in model.graph.initializers.values())
    try:
        if unoptimized and model.ir_version >= FREE_INITIALIZERS_IR and not options.optimized_model_filepath:
            content, large = model_file.to_bytes_without_weights(model, _MIN_SHARED_BYTES)
            ort_values = {name: ort.OrtValue.ortvalue_from_numpy(tensor.numpy()) for name, tensor in large.items()}
            options.add_external_initializers(list(ort_values), list(ort_values.values()))
            return ort.InferenceSession(content, options, providers=providers, enable_fallback=0)
        size = model_file.count_tensor_bytes(model)
        # the graph that the runtime writes refers to the weights of a mapped file, which goes before anybody reads it
        limit = model_file.INLINE_LIMIT if options.optimized_model_filepath else model_file.MAPPED_LIMIT
        if size >= limit:
            try:
                with tempfile.TemporaryDirectory(prefix="onnxslim-") as folder:
                    path = model_file.save_for_runtime(model, folder)
                    return ort.InferenceSession(path, options, providers=providers, enable_fallback=0)
            except (LimitError, UsageError, OSError):  # the disk is full, or nothing may be written to it
                if size > model_file.INLINE_LIMIT:
                    raise
        return ort.InferenceSession(model_file.to_bytes(model), options, providers=providers, enable_fallback=0)
    except Exception as error:
        raise translate_error(error, "the runtime refuses the model") from error
