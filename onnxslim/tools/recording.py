"""Record: calibration data from the requests that a service really gets.

    session = onnxslim.record(onnxruntime.InferenceSession("model.onnx"), "calib.npz")

A request of several samples counts as so many. The file is what ``--data`` reads; a recurrent model's state is in it as
the inputs that it was fed back by.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import UsageError
from onnxslim.data.model_inputs import Dim, ModelInput, build_inputs
from onnxslim.data.readers.npz import pack_ragged, write_npz
from onnxslim.runtime.recorder import RecordingSession
from onnxslim.tools.reservoir import Reservoir

logger = logging.getLogger(__name__)

_DTYPES = {"float": ir.DataType.FLOAT, "double": ir.DataType.DOUBLE, **{kind.name.lower(): kind for kind in ir.DataType}}
Sample = dict[str, np.ndarray]


def record(session: Any, path: str | os.PathLike[str], n: int = 256, *, seed: int = 0) -> Recording:
    """Wrap ``session`` so that a fair sample of its requests is kept and written to ``path``.

    The wrapper is used in place of the session. Every sample of the whole stream has the same chance to be among the
    ``n``; what it costs is a copy of those that are kept. The file is written when the stream has doubled since it was
    written last, at :meth:`Recording.save`, at the end of a ``with`` block, and when the program ends.

    Args:
        session: An ``onnxruntime.InferenceSession``, or anything with its ``run`` and ``get_inputs``.
        path: An ``.npz`` file; it is replaced atomically.
        n: Samples that are kept at most.
        seed: The same seed keeps the same places of a stream.

    Raises:
        UsageError: ``path`` is no ``.npz``, its folder is not there, or ``n`` is below 1.
    """
    target = os.path.abspath(os.fspath(path))
    if not target.lower().endswith(".npz"):
        raise UsageError(f"record {os.fspath(path)}: expected a file called .npz")
    if not os.path.isdir(os.path.dirname(target)):
        raise UsageError(f"record {os.fspath(path)}: there is no folder {os.path.dirname(target)}")
    if n < 1:
        raise UsageError(f"record n={n}: expected at least 1")
    return Recording(session, target, Reservoir(n, seed))


class Recording(RecordingSession):
    """A session that records; see :func:`record`."""

    def __init__(self, session: Any, path: str, reservoir: Reservoir[Sample]) -> None:
        super().__init__(session, self._sample_request)
        declared_inputs: dict[str, tuple[ir.DataType, tuple[Dim, ...] | None]] = {}
        for port in session.get_inputs():
            dtype = str(port.type).removeprefix("tensor(").removesuffix(")")
            dims = tuple(dim if isinstance(dim, (int, str)) else None for dim in port.shape)
            declared_inputs[port.name] = _DTYPES.get(dtype, ir.DataType.UNDEFINED), dims
        self._inputs = {model_input.name: model_input for model_input in build_inputs(declared_inputs)}
        self._path, self._reservoir = path, reservoir
        self._saved_count, self._next_save = 0, 16
        self._save_lock = threading.Lock()
        atexit.register(self._save_new_samples)

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *error: object) -> None:
        self.save()

    def save(self) -> None:
        """Write what is kept so far; nothing where there were no requests.

        Raises:
            OSError: The file cannot be written.
        """
        with self._save_lock:
            with self._lock:
                samples, self._saved_count = list(self._reservoir.items), self._reservoir.seen
            arrays: dict[str, np.ndarray] = {}
            for name in samples[0] if samples else ():
                if all(name in sample for sample in samples):
                    values = (sample[name] for sample in samples)
                    # strings as an array that needs no pickling
                    arrays.update(pack_ragged(name, [v.astype(np.str_) if v.dtype.hasobject else v for v in values]))
            if samples:
                write_npz(self._path, arrays)

    def _save_new_samples(self) -> None:
        if self._reservoir.seen > self._saved_count:
            try:
                self.save()
            except OSError:
                logger.warning("the recording %s could not be written", self._path, exc_info=True)

    def _sample_request(self, feeds: Mapping[str, np.ndarray]) -> None:
        for sample in _split_request(feeds, self._inputs):
            if self._reservoir.wants():
                self._reservoir.put({name: np.array(value) for name, value in sample.items()})
        if self._reservoir.seen >= self._next_save:
            self._next_save = 2 * self._reservoir.seen
            # The caller waits for its answer, not for the disk.
            threading.Thread(target=self._save_new_samples, daemon=True).start()


def _split_request(feeds: Mapping[str, np.ndarray], inputs: Mapping[str, ModelInput]) -> list[Sample]:
    """The samples of one request; the request as the only one where it cannot be taken apart."""
    rows = {name: inputs[name].split_samples(value) for name, value in feeds.items() if inputs[name].dims != ()}
    counts = {None if value is None else len(value) for value in rows.values()}
    count = counts.pop() if len(counts) == 1 else None
    if count is None:
        return [dict(feeds)]
    shared = {name: value for name, value in feeds.items() if name not in rows}
    return [{**{name: value[i] for name, value in rows.items() if value is not None}, **shared} for i in range(count)]
