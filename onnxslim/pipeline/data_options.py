"""How the data of a run are read: the options that users give, and the samples they lead to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxslim.data.model_inputs import get_model_inputs
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.data.split import HeldPart
from onnxslim.data.states.feedback import StateFeedback
from onnxslim.data.states.pairs import AUTO, describe_pairs, get_model_outputs, resolve_state
from onnxslim.runtime.session import Session, SessionConfig, make_run_check


@dataclass(frozen=True)
class OpenedData:
    """Data that were opened already; with the same options and seed they are not opened again.

    Attributes:
        source: What the user gave.
        samples: What that is for one model.
        read: The options.
        seed: Of the draws.
    """

    source: Any
    samples: Samples
    read: DataOptions
    seed: int


@dataclass(frozen=True)
class DataOptions:
    """How data are read; see :func:`onnxslim.data.sources.open_samples`.

    Attributes:
        state: Output → the input it is fed back to; then samples are sequences (:mod:`onnxslim.data.sequences`). ``auto``,
            alone or as a key beside pairs, stands for all that names tell (:mod:`onnxslim.data.states.pairs`).
        input_configs: The folder whose tokenizer and preprocessor say how texts, sounds and images become inputs.
        allow_random: Take ``random`` for an answer.
        part: Take this part of what is opened, as a run before did that held the other back.
    """

    labels: str | None = None
    preprocess: str | None = None
    max_samples: int | None = None
    dims: Mapping[str, int] = field(default_factory=dict)
    allow_code: bool = False
    group: str | None = None
    state: Mapping[str, str] | str = field(default_factory=dict)
    input_configs: str | None = None
    allow_random: bool = True
    part: HeldPart | None = None

    def open(self, source: Any, model: ir.Model, *, seed: int = 0, config: SessionConfig | None = None) -> Samples:
        """The samples at ``source`` for ``model``, the original, which is run once over them where there is state.

        Args:
            source: A path, arrays, an iterable; or an :class:`OpenedData` of those, for ``model``.
            model: The original.
            seed: Of every draw.
            config: Where it runs.

        Raises:
            OnnxslimError: See :func:`~onnxslim.data.sources.open_samples`.
        """
        if isinstance(source, OpenedData):
            if (source.read, source.seed) == (self, seed):
                return source.samples
            source = source.source
        feedback = None
        if self.state:
            session, declared = Session(model, config), get_model_outputs(model)
            pairs = resolve_state(self.state, get_model_inputs(model), declared)
            told = [f"--state {AUTO} feeds back {describe_pairs(pairs)}"] if AUTO in self.state else []
            feedback = StateFeedback(pairs, session.outputs, session.run, declared, told)
        options = {name: value for name, value in vars(self).items() if name not in ("state", "part")}
        samples = open_samples(
            source, model, **options, seed=seed, run_check=make_run_check(model, config), feedback=feedback
        )
        return samples if self.part is None else self.part.take(samples)
