"""Models of a folder that serve together, in a command over the folder: fed by each other, and judged as one."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from onnxslim.core.errors import OnnxslimError
from onnxslim.model_folders.folder_data import MemberData
from onnxslim.model_folders.layouts.layout import FolderModel
from onnxslim.model_folders.model_folder import ModelFolder
from onnxslim.model_folders.pipelines.composition import Composition
from onnxslim.model_folders.pipelines.encoder_decoder import EncoderDecoder, find_encoder_decoders
from onnxslim.model_folders.pipelines.preparation import PreparedPipeline, check_start, prepare_pipeline
from onnxslim.model_folders.pipelines.settlement import Rung, Settlement
from onnxslim.model_folders.pipelines.special_tokens import find_special_tokens
from onnxslim.model_io import model_file
from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.data_splits import ConfirmOrigin, open_splits
from onnxslim.pipeline.result import Result
from onnxslim.runtime.session import Session

from .folder_options import Configure
from .options.common_options import CommonOptions
from .step_command import run_step


class FolderPipelines:
    """The encoders of a folder with their decoders; nothing where it has none.

    Args:
        folder: The folder.
        members: Those of its models that the command is about.
        common: The options that everybody takes.
        configure: How they are meant for one model.
    """

    def __init__(
        self, folder: ModelFolder, members: Sequence[FolderModel], common: CommonOptions, configure: Configure
    ) -> None:
        self._folder, self._common, self._configure = folder, common, configure
        #: What is to be said of decoders that no encoder is told for.
        self.cautions: list[str] = []
        plain = [one for one in members if one.variant_of is None]
        self._pipelines = find_encoder_decoders(plain, self._load, self.cautions.append)
        self._prepared: list[PreparedPipeline] = []
        #: What the encoders were fed with, to judge by, by their paths.
        self.origins: dict[str, ConfirmOrigin] = {}

    @property
    def readers(self) -> tuple[FolderModel, ...]:
        """The models that read what another makes."""
        return tuple(member for pipeline in self._pipelines for member in pipeline.members[1:])

    @property
    def compositions(self) -> list[tuple[Composition, Mapping[str, Session]]]:
        """What is judged together on the data that they were fed with, with sessions of the originals, by path."""
        return [(one.composition, one.originals) for one in self._prepared if one.composition is not None]

    def feed(self, data: dict[str, MemberData]) -> dict[str, MemberData]:
        """``data``, by path, with those of the decoders, as the originals serve their encoder's.

        Raises:
            InvalidModelError: A configuration file contradicts a decoder.
            OnnxslimError: The data are not the encoder's.
        """
        for pipeline in self._pipelines:
            data = self._feed_one(pipeline, data)
        return data

    def _feed_one(self, pipeline: EncoderDecoder, data: dict[str, MemberData]) -> dict[str, MemberData]:
        own, common = data[pipeline.encoder.path], self._common
        if own.source is None:
            return data
        models = {member.path: self._load(member) for member in pipeline.members}
        options = self._configure(pipeline.encoder, own.source).data_options
        encoder = models[pipeline.encoder.path]
        splits = open_splits(encoder, own.data, own.eval_data, options, common.seed, common.config)
        special = find_special_tokens(self._folder.files, pipeline.encoder.path)
        check_start(pipeline, special)
        unfed = [member.path for member in pipeline.members[1:] if data[member.path].source is None]
        try:
            prepared = prepare_pipeline(pipeline, models, splits, special, common.config, common.seed)
        except OnnxslimError as error:
            why = f"{pipeline.encoder.path} and the decoder do not run together: {error.message}"
            return data | dict.fromkeys(unfed, MemberData(None, None, why))
        self._prepared.append(prepared)
        if splits.origin is not None:
            self.origins[pipeline.encoder.path] = splits.origin
        return data | {path: MemberData(prepared.fit.get(path), prepared.confirm.get(path)) for path in unfed}

    def make_settlements(
        self, data: Mapping[str, MemberData], params: Mapping[str, Any], function: Callable[..., Result],
        find_deadline: Callable[[int], float | None],
    ) -> list[Settlement]:  # fmt: skip
        """What judges results together by the gates of the command: ``function``, with ``params``. None without data.

        ``find_deadline`` tells when so many models have to be made and settled.
        """
        common = self._common
        if not self.compositions:
            return []
        planned = function(dataclasses.replace(common, dry_run=True), **params)

        def store_weights(member: FolderModel, path: str) -> tuple[Result, str | None]:
            own = data[member.path]
            result = run_step(
                self._configure(member, own.source), "quantize", path, {"weights": "int8"}, data=own.data,
                eval_data=own.eval_data, before=[recipes.make_step("simplify")], time_it=False, **_pick(params),
            )  # fmt: skip
            return result, None

        def simplify(member: FolderModel, path: str) -> tuple[Result, str | None]:
            return simplify_only(common, path, params), None

        ladder = [Rung("int8 weights only", store_weights), Rung("simplified only", simplify)]
        gates = recipes.parse(planned.recipe or "").gates
        counts = itertools.accumulate(len(one.pipeline.members) for one, _ in self.compositions)
        return [
            Settlement(one, originals, gates, ladder, common.config, find_deadline(count))
            for (one, originals), count in zip(self.compositions, counts, strict=True)
        ]

    def _load(self, member: FolderModel) -> ir.Model:
        return model_file.load(self._folder.find(member))


def simplify_only(common: CommonOptions, path: str, params: Mapping[str, Any]) -> Result:
    """The model at ``path`` simplified, whatever command ``params`` are of."""
    return run_step(common, "simplify", path, {}, time_it=False, **_pick(params))


def _pick(params: Mapping[str, Any]) -> dict[str, Any]:
    return {"for_ort": params.get("for_ort"), "keep_initializer_inputs": bool(params.get("keep_initializer_inputs"))}
