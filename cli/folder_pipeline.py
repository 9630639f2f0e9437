"""Models of a folder that serve together, in a command over the folder: fed by each other, and judged as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from onnxslim.core.errors import OnnxslimError
from onnxslim.model_folders.folder_data import MemberData
from onnxslim.model_folders.layouts.layout import FolderModel
from onnxslim.model_folders.model_folder import ModelFolder
from onnxslim.model_folders.pipelines.encoder_decoder import find_encoder_decoder
from onnxslim.model_folders.pipelines.preparation import PreparedPipeline, check_start, prepare_pipeline
from onnxslim.model_folders.pipelines.settlement import Rung, Settlement
from onnxslim.model_folders.pipelines.special_tokens import find_special_tokens
from onnxslim.model_io import model_file
from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.data_splits import open_splits
from onnxslim.pipeline.result import Result

from .folder_options import Configure
from .options.common_options import CommonOptions
from .step_command import run_step


class FolderPipeline:
    """The encoder and decoders of a folder; nothing where it has none.

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
        self._pipeline = find_encoder_decoder([one for one in members if one.variant_of is None], self._load)
        self._prepared: PreparedPipeline | None = None

    @property
    def readers(self) -> tuple[FolderModel, ...]:
        """The models that read what another makes."""
        return () if self._pipeline is None else self._pipeline.members[1:]

    def feed(self, data: dict[str, MemberData]) -> dict[str, MemberData]:
        """``data``, by path, with those of the decoders, as the originals serve the encoder's.

        Raises:
            InvalidModelError: A configuration file contradicts the decoder.
            OnnxslimError: The data are not the encoder's.
        """
        pipeline, common = self._pipeline, self._common
        own = None if pipeline is None else data[pipeline.encoder.path]
        if pipeline is None or own is None or own.source is None:
            return data
        models = {member.path: self._load(member) for member in pipeline.members}
        options = self._configure(pipeline.encoder, own.source).data_options
        encoder = models[pipeline.encoder.path]
        splits = open_splits(encoder, own.data, own.eval_data, options, common.seed, common.config)
        special = find_special_tokens(self._folder.files)
        check_start(pipeline, special)
        unfed = [member.path for member in self.readers if data[member.path].source is None]
        try:
            self._prepared = prepare_pipeline(pipeline, models, splits, special, common.config, common.seed)
        except OnnxslimError as error:
            why = f"{pipeline.encoder.path} and the decoder do not run together: {error.message}"
            return data | dict.fromkeys(unfed, MemberData(None, None, why))
        fit, confirm = self._prepared.fit, self._prepared.confirm
        return data | {path: MemberData(fit.get(path), confirm.get(path)) for path in unfed}

    def make_settlement(
        self, data: Mapping[str, MemberData], params: Mapping[str, Any], function: Callable[..., Result],
        deadline: float | None = None,
    ) -> Settlement | None:  # fmt: skip
        """What judges the results together by the gates of the command: ``function``, with ``params``. None without data."""
        prepared, common = self._prepared, self._common
        if prepared is None or prepared.composition is None:
            return None
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
        return Settlement(prepared.composition, prepared.originals, gates, ladder, common.config, deadline)

    def _load(self, member: FolderModel) -> ir.Model:
        return model_file.load(self._folder.find(member))


def simplify_only(common: CommonOptions, path: str, params: Mapping[str, Any]) -> Result:
    """The model at ``path`` simplified, whatever command ``params`` are of."""
    return run_step(common, "simplify", path, {}, time_it=False, **_pick(params))


def _pick(params: Mapping[str, Any]) -> dict[str, Any]:
    return {"for_ort": params.get("for_ort"), "keep_initializer_inputs": bool(params.get("keep_initializer_inputs"))}
