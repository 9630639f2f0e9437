"""From the data of an encoder to those of its decoders, and to the texts that they are judged on together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.core.errors import InvalidDataError, InvalidModelError, UnsupportedError
from onnxslim.data.columns import Array
from onnxslim.data.samples import Samples
from onnxslim.data.split import draw_samples
from onnxslim.graph.cost import compute_cost
from onnxslim.graph.shapes import read_dim_sizes
from onnxslim.model_folders.pipelines.composition import Composition
from onnxslim.model_folders.pipelines.encoder_decoder import EncoderDecoder
from onnxslim.model_folders.pipelines.served_texts import ServedRuns, ServedTexts, write_text
from onnxslim.model_folders.pipelines.serving import Server
from onnxslim.model_folders.pipelines.special_tokens import SpecialTokens
from onnxslim.pipeline.data_splits import DataSplits
from onnxslim.runtime.session import Session
from onnxslim.runtime.session_config import SessionConfig
from onnxslim.validation.sequences.texts import CONTINUED_TOKENS

#: Inputs that texts are written for, to fit on and to judge by: at most so many, as many as so many multiply-accumulates
#: allow, and never fewer than so many.
_MAX_FIT_TEXTS, _MAX_CONFIRM_TEXTS, _MIN_TEXTS, _MAX_MACS = 128, 64, 8, 5 * 10**11


@dataclass(frozen=True)
class PreparedPipeline:
    """What the originals of a pipeline made of the data.

    Attributes:
        originals: Sessions of them, by path.
        fit: What each file of a decoder is fitted on, by path; empty where there are no fit data.
        confirm: Likewise, to judge by.
        composition: What they are judged by together; None where there are no data to judge by.
    """

    originals: Mapping[str, Session]
    fit: Mapping[str, ServedRuns]
    confirm: Mapping[str, ServedRuns]
    composition: Composition | None


def check_start(pipeline: EncoderDecoder, special: SpecialTokens) -> None:
    """Raise where texts begin with what the decoder does not know.

    Raises:
        InvalidModelError: It has no row for it.
    """
    first = pipeline.decoders[0].first
    limit = first.layout.ids.limit
    if limit is not None and max(special.start) >= limit:
        where = f"{special.source or 'texts'}: they begin with token {max(special.start)}"
        raise InvalidModelError(f"{where}, and {first.member.path} looks up one of {limit} rows")


def prepare_pipeline(
    pipeline: EncoderDecoder,
    models: Mapping[str, ir.Model],
    splits: DataSplits,
    special: SpecialTokens,
    config: SessionConfig,
    seed: int,
) -> PreparedPipeline:
    """Have the originals serve the encoder's data.

    Args:
        pipeline: How the files belong together.
        models: The originals, by path.
        splits: The encoder's data.
        special: What texts begin and end with.
        config: Where sessions run.
        seed: Of the draw of texts.

    Raises:
        UnsupportedError: The encoder takes several inputs a run.
        OnnxslimError: The originals do not run together.
    """
    originals = {member.path: Session(models[member.path], config) for member in pipeline.members}
    server = Server(pipeline, originals)
    served = []
    for samples, most in ((splits.fit, _MAX_FIT_TEXTS), (splits.confirm, _MAX_CONFIRM_TEXTS)):
        macs = 1 if samples is None else _count_macs(pipeline, models, dict(next(iter(samples.batches(1)))))
        count = min(most, max(_MIN_TEXTS, _MAX_MACS // macs))
        served.append(None if samples is None else _serve(pipeline, server, samples, special, count, seed))
    runs = [{} if texts is None else _list_runs(pipeline, texts) for texts in served]
    confirm = served[1]
    composition = None if confirm is None else Composition(pipeline, confirm, len(special.start))
    return PreparedPipeline(originals, runs[0], runs[1], composition)


def _count_macs(pipeline: EncoderDecoder, models: Mapping[str, ir.Model], feeds: Mapping[str, Array]) -> int:
    """What one text costs whose input is like ``feeds``: the encoder once, and the decoder for every token, or where it has
    no cache for all those before it too.
    """
    encoder, decoder = models[pipeline.encoder.path], pipeline.decoders[0]
    tokens = CONTINUED_TOKENS if decoder.step is not None else CONTINUED_TOKENS * (CONTINUED_TOKENS + 1) // 2
    token_macs = compute_cost(models[decoder.first.member.path]).macs
    return max(1, compute_cost(encoder, read_dim_sizes(encoder, feeds)).macs + tokens * token_macs)


def _serve(
    pipeline: EncoderDecoder, server: Server, samples: Samples, special: SpecialTokens, count: int, seed: int
) -> ServedTexts:
    if (samples.fixed_batch or 1) > 1:
        raise UnsupportedError(f"{pipeline.encoder.path} takes {samples.fixed_batch} inputs a run, and a text is of one")
    decoder = pipeline.decoders[0]
    room = decoder.first.layout.limit
    length = CONTINUED_TOKENS if room is None else min(CONTINUED_TOKENS, room - len(special.start))
    if length < 1:
        raise InvalidDataError(f"{decoder.first.member.path} has {room} places, and texts begin with {len(special.start)}")
    drawn = samples.take(draw_samples(samples, count, seed)) if len(samples) > count else samples
    tokens = [write_text(server, decoder, server.encode(dict(feeds)), special, length) for feeds in drawn.batches(1)]
    return ServedTexts(server, drawn, tokens)


def _list_runs(pipeline: EncoderDecoder, texts: ServedTexts) -> dict[str, ServedRuns]:
    return {file.member.path: ServedRuns(texts, decoder, file) for decoder in pipeline.decoders for file in decoder.files}
