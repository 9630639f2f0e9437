"""What the originals of a pipeline make of data: the texts that they write, and what each file is fed with meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxslim.data.columns import Array
from onnxslim.data.samples import Samples
from onnxslim.model_folders.pipelines.encoder_decoder import Decoder, DecoderFile
from onnxslim.model_folders.pipelines.serving import Encoded, Server, make_feeds
from onnxslim.model_folders.pipelines.special_tokens import SpecialTokens

#: The key of the text that a run belongs to.
TEXT_KEY = "served_text"
#: Runs of one text that a file for further tokens is shown, and bytes of all runs, after which no further text is read.
_MAX_STEPS, _MAX_BYTES = 4, 1 << 29


@dataclass(frozen=True)
class ServedTexts:
    """Inputs, and the texts that the originals write for them.

    Attributes:
        server: The originals.
        samples: What the encoder reads.
        tokens: Of each sample the text, int64 (n,), what it begins with included.
    """

    server: Server
    samples: Samples
    tokens: Sequence[Array]

    def encode(self) -> Iterator[tuple[dict[str, Array], Encoded, Array]]:
        """Each input, the original encoder's states, and the text."""
        for feeds, tokens in zip(self.samples.batches(1), self.tokens, strict=True):
            yield dict(feeds), self.server.encode(feeds), tokens


class ServedRuns:
    """What one file of a decoder is fed with: whoever reads it has the originals serve the texts again.

    Args:
        texts: What is served.
        decoder: The decoder.
        file: The file, one of its.

    Attributes:
        title: For reports.
        has_state: A run is a text, whose caches whoever reads it has to carry.
        scores: The output that says what token follows.
    """

    def __init__(self, texts: ServedTexts, decoder: Decoder, file: DecoderFile) -> None:
        self._texts, self._decoder, self._file = texts, decoder, file
        self.has_state = bool(file.caches) and file is decoder.first
        self.scores = file.scores
        self.title = f"{texts.samples.source} through the encoder"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        size = 0
        for number, (_, encoded, tokens) in enumerate(self._texts.encode()):
            for feeds in self._list_runs(encoded, tokens):
                size += sum(array.nbytes for array in feeds.values())
                yield feeds | {TEXT_KEY: np.array(number)}
            if size > _MAX_BYTES:
                return

    def _list_runs(self, encoded: Encoded, tokens: Array) -> list[dict[str, Array]]:
        file = self._file
        if file is self._decoder.first:
            feeds = make_feeds(file, tokens, 0, encoded)
            derived = {i.name for i in file.layout.derived} if self.has_state else set()
            return [{name: array for name, array in feeds.items() if name not in derived}]
        runs = self._texts.server.read_step(self._decoder, encoded, tokens)
        return [runs[i] for i in np.unique(np.linspace(0, len(runs) - 1, min(_MAX_STEPS, len(runs))).astype(int))]


def write_text(server: Server, decoder: Decoder, encoded: Encoded, special: SpecialTokens, count: int) -> Array:
    """The text of ``count`` tokens at most, each the likeliest, behind what it begins with; int64 (n,)."""
    text, steps = list(special.start), server.go_on(decoder, encoded, special.start)
    scores = next(steps)
    for left in reversed(range(count)):
        text.append(pick_token(scores))
        if text[-1] in special.ends or not left:
            break
        scores = steps.send(text[-1])
    return np.array(text, np.int64)


def pick_token(scores: Array) -> int:
    """The likeliest."""
    return int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))
