"""What a source is asked for, and what it answers: the interface of every reader in this room.

A reader is a module with ``accepts(source) -> bool`` and ``read(request) -> Found``, and a row in the table of
:mod:`onnxslim.data.sources`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.columns import Array, Column
from onnxslim.data.model_inputs import ModelInput
from onnxslim.data.states.pairs import ModelOutput

#: The key that holds labels unless another is named.
LABELS_KEY = "labels"


@dataclass(frozen=True)
class ReaderRequest:
    """What a reader may need to know.

    Attributes:
        source: What the user gave.
        inputs: What the model takes.
        labels: The key or file of the labels as the user spelled it, an array of them, or None.
        group: The key of the groups, ``subfolder`` for folders, an array, or None.
        preprocess: How images become arrays (a spec, or the path of a ``preprocessor_config.json``), or None.
        max_samples: How many samples will be used at most, or None.
        seed: Of everything drawn.
        dims: Sizes for free dimensions by symbol; only made-up data need them.
        free: The size of the free dimensions that ``dims`` leaves open, or None for the usual ones; likewise.
        outputs: What the model gives, to propose which of them are fed back.
        fed_back: Inputs that are fed with outputs, and so are none of ``inputs``.
        input_configs: The folder of the model's tokenizer and preprocessor, or None.
    """

    source: Any
    inputs: Sequence[ModelInput]
    labels: Any = None
    group: Any = None
    preprocess: str | None = None
    max_samples: int | None = None
    seed: int = 0
    dims: Mapping[str, int] = field(default_factory=dict)
    free: int | None = None
    outputs: Sequence[ModelOutput] = ()
    fed_back: Sequence[ModelInput] = ()
    input_configs: str | None = None

    @property
    def only_input(self) -> ModelInput:
        """The only input of a model that has one.

        Raises:
            InvalidDataError: The model has several.
        """
        required = self.required_inputs
        if len(required) != 1:
            names = ", ".join(f"'{i.name}'" for i in required)
            raise InvalidDataError(
                f"the model takes {names}; this source has no names to tell them apart",
                hint="give an .npz with one array per input",
            )
        return required[0]

    @property
    def required_inputs(self) -> list[ModelInput]:
        """The inputs without a default."""
        return [i for i in self.inputs if i.required] or list(self.inputs)

    @property
    def auxiliary_keys(self) -> list[str]:
        """The keys of a source that are labels or groups, unless the model has an input of that name."""
        named_keys = [key for key in (self.labels, self.group) if isinstance(key, str)]
        inputs = {i.name for i in self.inputs}
        return [*named_keys, *({LABELS_KEY} - inputs - {*named_keys})]

    def map_to_inputs(self, keys: Iterable[str]) -> dict[str, str]:
        """The input each key is for; itself unless it is the lone array for a model with one input."""
        mapping = {str(key): str(key) for key in keys}
        lone = [key for key in mapping if key not in self.auxiliary_keys]
        if len(lone) == 1 and len(self.required_inputs) == 1:
            mapping[lone[0]] = self.required_inputs[0].name
        return mapping


@dataclass
class ReaderResult:
    """What a reader found.

    Attributes:
        columns: Rows by key: inputs, and where the source has keys, labels and groups too. A 0-d array is one value
            for all samples.
        title: The source in a few words, for errors and the report.
        labels: The labels, when the source has them elsewhere than under a key.
        groups: The groups, likewise.
        warnings: One-line cautions.
    """

    columns: dict[str, Column | Array]
    title: str
    labels: Array | None = None
    groups: Array | None = None
    warnings: list[str] = field(default_factory=list)
