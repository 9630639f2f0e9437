"""An encoder and a decoder run as a service runs them: the input encoded once, then token after token."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxslim.core.state import advance_state
from onnxslim.data.columns import Array
from onnxslim.data.states.feedback import StateFeedback
from onnxslim.data.states.initial_state import bind_symbols, find_initial_state
from onnxslim.model_folders.pipelines.encoder_decoder import Decoder, DecoderFile, EncoderDecoder
from onnxslim.runtime.session import Session


@dataclass(frozen=True)
class Encoded:
    """What an encoder made of one input: states, shape (1, places, width), and which places count, int64 (1, places)."""

    states: Array
    mask: Array


class Server:
    """Sessions of the files of a pipeline.

    Args:
        pipeline: How they belong together.
        sessions: By path of the file.
    """

    def __init__(self, pipeline: EncoderDecoder, sessions: Mapping[str, Session]) -> None:
        self._pipeline, self._sessions = pipeline, sessions
        self._empty: dict[str, dict[str, Array]] = {}

    def encode(self, feeds: Mapping[str, Array]) -> Encoded:
        """The states of one input."""
        pipeline = self._pipeline
        states = np.asarray(self._sessions[pipeline.encoder.path].run(feeds, [pipeline.states])[pipeline.states])
        mask = feeds.get(pipeline.mask) if pipeline.mask is not None else None
        if mask is None or mask.shape != states.shape[:2]:  # an encoder that takes fewer places than it is given
            mask = np.ones(states.shape[:2])
        return Encoded(states, mask.astype(np.int64))

    def go_on(self, decoder: Decoder, encoded: Encoded, start: Iterable[int]) -> Generator[Array, int, None]:
        """The scores of the token behind ``start``, shape (classes,), then of the one behind each token that is sent.

        Raises:
            OnnxslimError: The runtime fails on it.
        """
        text, fed, state = list(start), 0, dict[str, Any]()
        while True:
            if decoder.step is None:
                scores = self._run(decoder.first, make_feeds(decoder.first, np.array(text), 0, encoded), {})[0]
            else:
                size = 1 if decoder.first.layout.reads_one_by_one else len(text) - fed
                for begin in range(fed, len(text), size):
                    scores, state = self._run_cached(decoder, np.array(text[begin : begin + size]), begin, encoded, state)
                fed = len(text)
            text.append((yield scores[0, -1]))

    def read_step(self, decoder: Decoder, encoded: Encoded, tokens: Array) -> list[dict[str, Array]]:
        """What the file for further tokens is fed with, a run each, where ``tokens`` (n,) go one by one."""
        assert decoder.step is not None
        runs, state = list[dict[str, Array]](), dict[str, Any]()
        for place, token in enumerate(tokens):
            if place:
                runs.append({**make_feeds(decoder.step, np.array([token]), place, encoded), **state})
            state = self._run_cached(decoder, np.array([token]), place, encoded, state)[1]
        return runs

    def _run_cached(
        self, decoder: Decoder, tokens: Array, past: int, encoded: Encoded, state: dict[str, Any]
    ) -> tuple[Array, dict[str, Any]]:
        """The scores of ``tokens`` behind ``past`` others, and the caches after them."""
        assert decoder.step is not None
        file, pairs = (decoder.step, decoder.step.caches) if past else (decoder.first, decoder.handed)
        feeds = make_feeds(file, tokens, past, encoded)
        if not past:
            state = self._find_empty(file, feeds)
        scores, outputs = self._run(file, {**feeds, **state}, pairs)
        return scores, {**state, **advance_state(pairs, state, outputs)}

    def _run(
        self, file: DecoderFile, feeds: Mapping[str, Array], pairs: Mapping[str, str]
    ) -> tuple[Array, Mapping[str, Any]]:
        outputs = self._sessions[file.member.path].run(feeds, [file.scores, *pairs])
        return outputs[file.scores], outputs

    def _find_empty(self, file: DecoderFile, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The caches before the first token."""
        path = file.member.path
        if not file.caches:
            return {}
        if path not in self._empty:
            session = self._sessions[path]
            feedback = StateFeedback(file.caches, session.outputs, session.run, file.outputs)
            sizes = bind_symbols(file.inputs, feeds)
            self._empty[path] = find_initial_state(feedback, file.cache_inputs, feeds, sizes, free_size=0).tensors
        return dict(self._empty[path])


def make_feeds(file: DecoderFile, tokens: Array, past: int, encoded: Encoded) -> dict[str, Array]:
    """What ``file`` is fed with for ``tokens``, shape (n,), behind ``past`` others, but for its caches."""
    feeds = file.layout.make_feeds(tokens, past)
    if file.states is not None:
        feeds[file.states.name] = encoded.states.astype(file.states.dtype.numpy())
    return feeds | {mask.name: encoded.mask.astype(mask.dtype.numpy()) for mask in file.masks}
