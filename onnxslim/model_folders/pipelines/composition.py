"""What an encoder and its decoders give together, judged: the tokens that follow, with results in place of the originals.

Each text is the one that the originals write. The results read it as serving does, and at every place the scores of the
token that follows are compared with the originals'. A text that the results would write by themselves is the originals' as
long as the likeliest token is the same at every place, so that one reading tells both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxslim.core.errors import OnnxslimError
from onnxslim.data.columns import Array
from onnxslim.model_folders.layouts.layout import FolderModel
from onnxslim.model_folders.pipelines.encoder_decoder import Decoder, EncoderDecoder
from onnxslim.model_folders.pipelines.served_texts import ServedTexts, pick_token
from onnxslim.model_folders.pipelines.serving import Encoded, Server
from onnxslim.runtime.session import Session
from onnxslim.validation.evaluation_accumulator import Evaluation, EvaluationAccumulator
from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.validation.sequences.texts import summarize_continuations


@dataclass(frozen=True)
class Composition:
    """An encoder and its decoders, and the texts that they are judged on.

    Attributes:
        pipeline: How the files belong together.
        texts: What the originals write.
        start: How many tokens every text begins with.
    """

    pipeline: EncoderDecoder
    texts: ServedTexts
    start: int

    def evaluate(self, sessions: Mapping[str, Session]) -> list[Evaluation]:
        """What each decoder's tokens lose with ``sessions``, by path of the file, in place of the originals.

        Raises:
            OnnxslimError: The runtime fails on one of them.
        """
        server = Server(self.pipeline, sessions)
        ledgers = [_Ledger(decoder) for decoder in self.pipeline.decoders]
        for feeds, encoded, tokens in self.texts.encode():
            found = server.encode(feeds)
            for ledger in ledgers:
                original = score_text(self.texts.server, ledger.decoder, encoded, tokens, self.start)
                ledger.add(score_text(server, ledger.decoder, found, tokens, self.start), original)
        return [ledger.compute() for ledger in ledgers]

    def judge(self, open_sessions: Callable[[], Mapping[str, Session]]) -> JudgedComposition:
        """:meth:`evaluate` with the sessions that are opened; where that cannot be, why."""
        try:
            return JudgedComposition(self, self.evaluate(open_sessions()))
        except OnnxslimError as error:
            return JudgedComposition(self, error=f"they do not run together: {error.message}")


@dataclass(frozen=True)
class JudgedComposition:
    """What a composition came to.

    Attributes:
        composition: What was judged.
        evaluations: Of each decoder; none where there is an ``error``.
        error: Why nothing could be judged.
        names: The paths of the files that were judged, by those of the originals, where they are called otherwise.
    """

    composition: Composition
    evaluations: Sequence[Evaluation] = ()
    error: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> list[list[str]]:
        """Of each decoder the paths of its files, behind the encoder's."""
        pipeline = self.composition.pipeline
        return [[self._name(one) for one in (pipeline.encoder, *(f.member for f in d.files))] for d in pipeline.decoders]

    def as_json(self) -> dict[str, Any]:
        """For the report: the files, and what was judged on what."""
        composition = self.composition
        return {
            "encoder": self._name(composition.pipeline.encoder),
            "texts": len(composition.texts.tokens),
            "tokens": sum(len(tokens) - composition.start for tokens in composition.texts.tokens),
            "source": composition.texts.samples.source,
            "decoders": [
                {"files": files, "metrics": evaluation.as_json()["metrics"]}
                for (_, *files), evaluation in zip(self.files, self.evaluations, strict=False)
            ],
        }

    def _name(self, member: FolderModel) -> str:
        return self.names.get(member.path, member.path)


def score_text(server: Server, decoder: Decoder, encoded: Encoded, tokens: Array, start: int) -> Array:
    """The scores of each of ``tokens`` (n,) behind the first ``start``, given those before it: (n - start, classes)."""
    steps = server.go_on(decoder, encoded, tokens[:start])
    return np.stack([next(steps), *(steps.send(token) for token in tokens[start:-1])])


class _Ledger:
    """What is summed of one decoder."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder, self._output = decoder, decoder.first.scores
        self._sums: EvaluationAccumulator | None = None
        self._kept: list[tuple[bool, int]] = []
        self._longest = 0

    def add(self, result: Array, original: Array) -> None:
        """Take in the scores of one text, shape (tokens, classes) each."""
        outputs: list[dict[str, Any]] = [{self._output: scores[None]} for scores in (result, original)]
        if self._sums is None:
            kind = OutputKind(
                (self._output,), "token scores", ("tokens", "kl", "agreement"), "the decoder of an encoder",
                guards=("agreement",), classes_last=True,
            )  # fmt: skip
            self._sums = EvaluationAccumulator([kind], outputs[0], outputs[1], None)
        self._sums.add(outputs[0], outputs[1], None, 1)
        same = np.array([pick_token(a) == pick_token(b) for a, b in zip(result, original, strict=True)])
        self._kept.append((bool(same.all()), int(np.cumprod(same).sum())))
        self._longest = max(self._longest, len(same))

    def compute(self) -> Evaluation:
        assert self._sums is not None
        evaluation = self._sums.compute(None, random=True)  # tokens of one language are alike, which is no reason to warn
        evaluation.metrics.append(summarize_continuations(self._kept, self._output, self._longest))
        return evaluation
