"""Fixture folders with an encoder and a decoder, opened as pipelines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.model_folders.model_folder import ModelFolder, open_model_folder
from onnxslim.model_folders.pipelines.encoder_decoder import EncoderDecoder, find_encoder_decoders
from onnxslim.model_folders.pipelines.serving import Server
from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session
from tests.support.folder_models import WORDS
from tests.support.model_folders import make_folder

#: Folders whose decoders have the same weights: in one file with a cache, and in two.
CACHED = ("encoder_and_merged_decoder", "decoder_with_past")


@dataclass
class OpenPipeline:
    """A folder, how its files belong together, and the originals."""

    folder: ModelFolder
    pipeline: EncoderDecoder
    models: dict[str, ir.Model]

    @property
    def sessions(self) -> dict[str, Session]:
        """New ones of the originals."""
        return {path: Session(model) for path, model in self.models.items()}

    @property
    def server(self) -> Server:
        """The originals."""
        return Server(self.pipeline, self.sessions)

    def make_samples(self, count: int = 6, *, seed: int = 0) -> Samples:
        """Ids of texts of three to eight words for the encoder."""
        rng = np.random.default_rng(seed)
        ids = [rng.integers(4, len(WORDS), rng.integers(3, 9)) for _ in range(count)]
        feeds = [{"input_ids": text[None], "attention_mask": np.ones_like(text)[None]} for text in ids]
        return open_samples(feeds, self.models[self.pipeline.encoder.path])


def open_pipeline(name: str, parent: Path) -> OpenPipeline:
    """The fixture folder ``name``, made below ``parent``."""
    folder = open_model_folder(make_folder(name, parent))
    models = {member.path: model_file.load(folder.find(member)) for member in folder.members}
    (pipeline,) = find_encoder_decoders(folder.members, lambda member: models[member.path])
    return OpenPipeline(folder, pipeline, models)
