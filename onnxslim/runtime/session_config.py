"""How a session runs: where, with how many threads, at which level of optimisation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnxruntime as ort

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.runtime.error_translation import make_library_error
from onnxslim.runtime.option_names import check_provider_options, check_session_options
from onnxslim.runtime.providers import CPU, Provider, parse_provider

#: No machine has more cores. Each thread waits by spinning: a thousand of them, in a receipt say, stop everything else.
MAX_THREADS = 512

#: Threads of a session that has several wait for the next run by spinning, some 20 ms, which is as long as the turn of the
#: session that is timed next: its threads would share the cores with theirs. So they sleep as soon as a run ends; to wake
#: them takes all sessions alike, as it does in a server between two requests.
_QUIET_BETWEEN_RUNS = ("session.force_spinning_stop", "1")


def available_providers() -> list[str]:
    """The execution providers that the installed onnxruntime was built with."""
    return list(ort.get_available_providers())


def version() -> str:
    """The installed onnxruntime's version."""
    return str(ort.__version__)


@dataclass(frozen=True)
class SessionConfig:
    """How a session runs.

    Attributes:
        provider: ``cpu``, ``cuda``, ``cuda:1`` or ``tensorrt``.
        threads: Intra-op threads; 1 is what the contract's ratios are measured at.
        batch_size: Samples in one inference where models are timed, as far as they leave that free; what is timed is decided
            by it, sessions are not.
        optimize: False switches the runtime's graph optimisation off (the contract's "equal").
        is_lean: Whether tensors are let go of as early as can be, for models of which many inner tensors are reduced: what
            is appended to the fastest layout runs last, with everything kept until then.
        session_options: Extra ``SessionOptions.add_session_config_entry`` pairs.
        provider_options: Options of the provider.
        custom_ops: Libraries of custom ops to load. Loading one runs its code, so none is ever looked for.
    """

    provider: str = "cpu"
    threads: int = 1
    batch_size: int = 1
    optimize: bool = True
    is_lean: bool = False
    session_options: Mapping[str, str] = field(default_factory=dict)
    provider_options: Mapping[str, str] = field(default_factory=dict)
    custom_ops: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no machine can do.

        Raises:
            UsageError: There are more threads than any machine has cores.
        """
        if self.threads > MAX_THREADS:
            raise UsageError(f"{self.threads} threads: more than {MAX_THREADS}", hint="no more than the machine has cores")

    @property
    def provider_name(self) -> str:
        """The provider without its device: ``cuda`` of ``cuda:1``."""
        return self.provider.split(":")[0]

    @property
    def is_cpu(self) -> bool:
        """Whether it runs on the CPU provider."""
        return self.provider == "cpu"

    def with_(self, **changes: Any) -> SessionConfig:
        """A copy with some fields changed."""
        return replace(self, **changes)


def make_session_options(config: SessionConfig, profile_prefix: str | None, optimized_path: str | None) -> Any:
    """The runtime's options of a session; a trace and the optimised graph go to the paths given.

    Raises:
        UsageError: A library of custom ops is none.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = config.threads
    options.inter_op_num_threads = 1
    levels = ort.GraphOptimizationLevel
    best_level = levels.ORT_ENABLE_EXTENDED if config.is_lean else levels.ORT_ENABLE_ALL
    options.graph_optimization_level = best_level if config.optimize else levels.ORT_DISABLE_ALL
    if config.is_lean:
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        options.enable_mem_pattern = False
    if config.threads != 1:
        options.add_session_config_entry(*_QUIET_BETWEEN_RUNS)
    for key, value in config.session_options.items():
        options.add_session_config_entry(key, value)
    for library in config.custom_ops:
        try:
            options.register_custom_ops_library(os.path.abspath(library))
        except Exception as error:
            raise make_library_error(library, str(error)) from error
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile_prefix
    if optimized_path is not None:
        options.optimized_model_filepath = optimized_path
    return options


def build_provider_list(provider: Provider, config: SessionConfig) -> list[tuple[str, dict[str, str]]]:
    """What a session is asked for: the provider with its options, and behind it the CPU for what it cannot run."""
    options = dict(config.provider_options)
    if provider.is_cpu:
        return [(provider.name, options)]
    options.setdefault("device_id", str(provider.device))
    return [(provider.name, options), (CPU, {})]


def check_active(provider: Provider, active_providers: Sequence[str]) -> None:
    """Refuse a session that was to run on ``provider`` and has fallen back to ``active_providers``.

    Raises:
        UnsupportedError: It has.
    """
    if provider.name not in active_providers:
        raise UnsupportedError(
            f"--provider {provider.label}: the session fell back to {', '.join(active_providers)}",
            hint="the provider's libraries (CUDA, cuDNN, TensorRT) did not load; `onnxslim doctor` shows why",
        )


def build_request(config: SessionConfig) -> dict[str, Any]:
    """``config`` as plain data, for a process of its own (:mod:`onnxslim.runtime.isolation`).

    Raises:
        UsageError: An option that the runtime or the provider does not know.
        UnsupportedError: The provider is not installed here.
    """
    provider = parse_provider(config.provider, available_providers())
    check_session_options(config.session_options)
    check_provider_options(provider, config.provider_options)
    return {
        "threads": config.threads,
        "optimize": config.optimize,
        "session_options": dict(config.session_options),
        "custom_ops": [os.path.abspath(library) for library in config.custom_ops],
        "providers": build_provider_list(provider, config),
    }
