"""Recording: an InferenceSession that keeps a sample of the requests it really gets."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnxruntime as ort

logger = logging.getLogger(__name__)

#: Called with every request: its feeds by input name.
FeedCallback = Callable[[Mapping[str, np.ndarray]], None]


class RecordingSession:
    """Stands for ``session``: everything is passed on, and the inputs of every run are handed to ``on_feed`` first.

    What goes wrong in ``on_feed`` is logged and never reaches the caller: a service must not fail because it is watched.
    Inputs that are bound to a device (``run_with_iobinding``) are not seen.
    """

    def __init__(self, session: Any, on_feed: FeedCallback) -> None:
        self._session, self._on_feed = session, on_feed
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, output_names: Any, input_feed: Mapping[str, Any], run_options: Any = None) -> Any:
        """As :meth:`onnxruntime.InferenceSession.run`."""
        self._pass_on(input_feed)
        return self._session.run(output_names, input_feed, run_options)

    def run_async(
        self, output_names: Any, input_feed: Mapping[str, Any], callback: Any, user_data: Any, run_options: Any = None
    ) -> Any:
        """As :meth:`onnxruntime.InferenceSession.run_async`."""
        self._pass_on(input_feed)
        return self._session.run_async(output_names, input_feed, callback, user_data, run_options)

    def run_with_ort_values(
        self, output_names: Any, input_dict_ort_values: Mapping[str, Any], run_options: Any = None
    ) -> Any:
        """As :meth:`onnxruntime.InferenceSession.run_with_ort_values`."""
        self._pass_on(input_dict_ort_values)
        return self._session.run_with_ort_values(output_names, input_dict_ort_values, run_options)

    def _pass_on(self, feeds: Mapping[str, Any]) -> None:
        try:
            with self._lock:
                arrays = (value.numpy() if isinstance(value, ort.OrtValue) else value for value in feeds.values())
                self._on_feed(dict(zip(feeds, map(np.asarray, arrays), strict=True)))
        except Exception:
            logger.warning("a request could not be recorded", exc_info=True)
