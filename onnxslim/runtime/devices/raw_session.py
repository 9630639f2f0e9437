"""A session of a file's content: what a device runs, which has the runtime and numpy and no library of models."""

from __future__ import annotations

import time

import onnxruntime as ort

from onnxslim.core.errors import UnsupportedError
from onnxslim.runtime.devices.local_session import LocalSession
from onnxslim.runtime.error_translation import translate_error
from onnxslim.runtime.option_names import check_provider_options, check_session_options, find_file_option
from onnxslim.runtime.providers import parse_provider
from onnxslim.runtime.session_config import (
    SessionConfig,
    available_providers,
    build_provider_list,
    make_session_options,
)


def check_harmless(config: SessionConfig) -> None:
    """Refuse what is more than running a model for who asks from afar: libraries are code, and files are this machine's.

    Raises:
        UnsupportedError: ``config`` names a library of custom ops, or a file that the runtime would read or write.
    """
    if config.custom_ops:
        raise UnsupportedError(f"--custom-ops {config.custom_ops[0]}: a worker loads no code for others")
    if (key := find_file_option(config.session_options, config.provider_options)) is not None:
        raise UnsupportedError(f"option {key}: a worker reads and writes no files for others")


class RawSession(LocalSession):
    """A session of ``content``.

    Args:
        content: A model in one file.
        config: How it runs; see :func:`check_harmless`.
        profile_prefix: Where the profiler's trace goes, if there is to be one.
        optimized_path: Where the graph goes that the runtime made of it.

    Raises:
        InvalidModelError: The runtime refuses the model.
        UnsupportedError: It needs an op or a provider that is not here, or what no worker does.
        UsageError: An option that the runtime or the provider does not know.
    """

    def __init__(
        self,
        content: bytes,
        config: SessionConfig,
        *,
        profile_prefix: str | None = None,
        optimized_path: str | None = None,
    ) -> None:
        check_harmless(config)
        provider = parse_provider(config.provider, available_providers())
        check_session_options(config.session_options)
        check_provider_options(provider, config.provider_options)
        options = make_session_options(config, profile_prefix, optimized_path)
        started = time.perf_counter()
        try:
            session = ort.InferenceSession(
                content, options, providers=build_provider_list(provider, config), enable_fallback=0
            )
        except Exception as error:
            raise translate_error(error, "the runtime refuses the model") from error
        super().__init__(session, config, provider, time.perf_counter() - started)
