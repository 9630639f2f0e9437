"""The options of a command whose IN is a folder, as they are for each of its models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from onnxslim.data.model_inputs import get_model_inputs
from onnxslim.data.readers import text_files
from onnxslim.data.states.pairs import AUTO, find_state_pairs, get_model_outputs
from onnxslim.graph.shapes import get_dims
from onnxslim.model_folders.layouts.layout import FolderModel
from onnxslim.model_folders.model_folder import ModelFolder
from onnxslim.model_folders.pipelines.served_texts import TEXT_KEY, ServedRuns
from onnxslim.model_io import model_file
from onnxslim.pipeline.data_options import OpenedData

from .options.common_options import CommonOptions

#: (a member of the folder, its data) -> the options that everybody takes, for that member.
Configure = Callable[[FolderModel, Any], CommonOptions]


def make_configure(folder: ModelFolder, common: CommonOptions) -> Configure:
    """How ``common`` becomes the options of one model: the files beside it tell how its inputs are made.

    A dimension or an output that one of the models has is nothing to those that have it not; one that none has stays an
    error.
    What a decoder feeds back to itself is in no file of texts: ``--state auto`` is meant there. The other models of a folder
    that a decoder is in have no states. What one model feeds another is told by nothing but itself.
    """
    own = _list_names(folder) if common.dim or common.output or common.state else {}
    known = set[str]().union(*own.values())

    def concerns(member: FolderModel, name: str) -> bool:
        return name in own[member.path] or name not in known

    def configure(member: FolderModel, data: Any) -> CommonOptions:
        if isinstance(data, ServedRuns):
            return dataclasses.replace(
                common, preprocess=None, labels=None, group=TEXT_KEY, max_samples=None, input_configs=None, dim={},
                output=(data.scores,), state={AUTO: ""} if data.has_state else {},
            )  # fmt: skip
        source = data.source if isinstance(data, OpenedData) else data
        state: Mapping[str, str] = {out: to for out, to in common.state.items() if out == AUTO or concerns(member, out)}
        if AUTO in state or (not common.state and source is not None and text_files.accepts(source)):
            model = model_file.load(folder.find(member))
            has_states = bool(find_state_pairs(get_model_inputs(model), get_model_outputs(model)))
            rest = {output: name for output, name in state.items() if output != AUTO}
            state = {AUTO: "", **rest} if has_states else rest
        return dataclasses.replace(
            common, input_configs=folder.find_input_configs(member), state=state,
            dim={name: size for name, size in common.dim.items() if concerns(member, name)},
            output=tuple(name for name in common.output if concerns(member, name)),
        )  # fmt: skip

    return configure


def _list_names(folder: ModelFolder) -> dict[str, set[str]]:
    """The outputs of each model, by its path, and the dimensions of its inputs as ``--dim`` names them."""
    names = {}
    for member in folder.members:
        model = model_file.load(folder.find(member))
        dims = [(value, axis, dim) for value in model.graph.inputs for axis, dim in enumerate(get_dims(value) or ())]
        names[member.path] = {
            *(str(value.name) for value in model.graph.outputs), *(f"{value.name}.{axis}" for value, axis, _ in dims),
            *(dim for _, _, dim in dims if isinstance(dim, str)),
        }  # fmt: skip
    return names


def make_try_open(
    folder: ModelFolder, configure: Configure, *, allow_random: bool = True
) -> Callable[[FolderModel, str], OpenedData]:
    """What opens data for one of the models, as ``configure`` says; made-up data where they are allowed."""

    def try_open(member: FolderModel, source: str) -> OpenedData:
        options = configure(member, source)
        read = dataclasses.replace(options.data_options, allow_random=allow_random)
        samples = read.open(source, model_file.load(folder.find(member)), seed=options.seed, config=options.config)
        return OpenedData(source, samples, read, options.seed)

    return try_open
