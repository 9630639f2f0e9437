"""What a run gives back: the model, the evidence, and how every figure came about."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from onnxslim.core.converter import JSON
from onnxslim.core.errors import OnnxslimError
from onnxslim.core.step_report import StepReport
from onnxslim.core.version import __version__
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.model_io.model_copy import copy_model
from onnxslim.runtime.devices.device import current_device
from onnxslim.runtime.load_check import save_checked
from onnxslim.runtime.session import version
from onnxslim.runtime.session_config import SessionConfig
from onnxslim.runtime.timing import Timing

if TYPE_CHECKING:  # who only looks need not wait for every metric
    from onnxslim.validation.evaluation_accumulator import Evaluation

if TYPE_CHECKING:  # a task has the facts of its original
    from onnxslim.pipeline.task import CompressionTask


@dataclass(frozen=True)
class ModelFacts:
    """One model in numbers: bytes on disk (external data included), parameters, multiply-accumulates of one sample."""

    path: str | None
    sha256: str = field(metadata={"schema": {"pattern": "^[0-9a-f]{64}$"}})
    bytes: int
    params: int
    macs: int


def compute_facts(
    model: ir.Model, path: str | os.PathLike[str] | None = None, dims: Mapping[str, int] | None = None
) -> ModelFacts:
    """Compute the facts of ``model``; with the ``path`` that it was loaded from the file's own hash and size, else those of
    what would be written.
    """
    model_cost = compute_cost(model, dims)
    if path is not None and os.path.isfile(path):
        size = model_file.size_on_disk(path, model)
        return ModelFacts(os.fspath(path), compute_digest(path), size, model_cost.params, model_cost.macs)
    digest, size = describe_file(model)
    return ModelFacts(None, digest, size, model_cost.params, model_cost.macs)


def describe_file(model: ir.Model) -> tuple[str, int]:
    """The SHA-256 of the file that ``model`` would be written as, and its bytes with those of the data beside it."""
    if model_file.count_tensor_bytes(model) > model_file.INLINE_LIMIT:
        with tempfile.TemporaryDirectory(prefix="onnxslim-") as folder:
            written = model_file.save_for_runtime(model, folder)
            return compute_digest(written), model_file.size_on_disk(written)
    digest, size = hashlib.sha256(), 0
    for piece in model_file.iter_bytes(model):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


def compute_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of the file at ``path``; nothing where there is none any more."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except FileNotFoundError:
        return ""
    return digest.hexdigest()


@dataclass(frozen=True)
class Stage:
    """The model after one step, for the report's table and plots; what was not measured is None."""

    name: str
    bytes: int
    params: int
    macs: int
    median_ms: float | None = None
    metric: float | None = None


@dataclass
class Result:
    """What a command did and what that proves.

    Attributes:
        command: Which command.
        model: The result; None when the command writes none.
        input: Facts of the original.
        output: Facts of the result.
        steps: One report a step.
        stages: The original and the model after each step.
        evaluation: Result against original on the *confirm* data.
        latency: The contract's ``latency``.
        data: The contract's ``data``: source and number of samples of each use.
        recipe: The resolved recipe as YAML.
        measured: Figure → how it was measured, for people.
        extra: More top-level keys of the JSON.
        warnings: One line each.
        original: What the model was made of, for who writes it.
        config: How sessions run, likewise.
        task: What it was judged by, for who verifies what was written.
        is_original: The model is the original as it is; what is written then are its bytes.
    """

    command: str
    model: ir.Model | None = None
    input: ModelFacts | None = None
    output: ModelFacts | None = None
    steps: list[StepReport] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    evaluation: Evaluation | None = None
    latency: dict[str, Any] | None = None
    data: dict[str, Any] = field(default_factory=lambda: {"fit": None, "tune": None, "confirm": None})
    recipe: str | None = None
    measured: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    original: ir.Model | None = field(default=None, repr=False)
    config: SessionConfig | None = None
    task: CompressionTask | None = field(default=None, repr=False)
    is_original: bool = False

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        external_data: bool | None = None,
        check: Callable[[str], object] | None = None,
    ) -> None:
        """Write the model (see :func:`onnxslim.model_io.model_file.save`), if the runtime loads the file.

        Args:
            path: Where.
            external_data: True writes the tensors beside the model, False inside; None decides by size.
            check: Called with the path of the whole file before it takes its place; where it raises, nothing is written.

        Raises:
            UnsupportedError: It loads the original, and not this; nothing was written.
        """
        if self.model is None:
            raise ValueError(f"{self.command} gives no model to save")
        if self.is_original and self._copy_original(path, check):
            return
        warning = save_checked(self.model, path, self.original, self.config, external_data=external_data, check=check)
        if warning is not None:
            self.warnings.append(warning)

    def _copy_original(self, path: str | os.PathLike[str], check: Callable[[str], object] | None) -> bool:
        """Copy the file of the original; False where there is none, or none that can lie at ``path`` as it is."""
        source = self.input.path if self.input is not None else None
        if source is None or self.input is None or compute_digest(source) != self.input.sha256:
            return False
        return copy_model(source, path, check)

    def _repr_html_(self) -> str:
        """What a notebook shows: the report, in a frame of its own so that neither page styles the other."""
        from onnxslim.reporting.html import render_html  # draws plots: only when somebody looks

        page = escape(render_html(self.as_json()), quote=True)
        return f'<iframe srcdoc="{page}" sandbox style="width:100%;height:60em;border:0"></iframe>'

    def as_json(self, error: OnnxslimError | None = None) -> dict[str, Any]:
        """The JSON contract, schema 1."""
        evaluation = self.evaluation.as_json() if self.evaluation is not None else {"metrics": [], "outputs": {}}
        warnings = list(dict.fromkeys([*self.warnings, *(line for step in self.steps for line in step.warnings)]))
        document = {
            "schema": 1,
            "tool": "onnxslim",
            "version": __version__,
            "command": self.command,
            "status": "done" if error is None else "failed",
            "exit_code": 0 if error is None else error.exit_code,
            "input": self.input,
            "output": self.output,
            "steps": [step.as_json() for step in self.steps],
            "stages": self.stages,
            **evaluation,
            "latency": self.latency,
            "data": self.data,
            "energy": {"source": "not measured"},
            "recipe": self.recipe,
            "measured": self.measured,
            "warnings": warnings,
            "error": None if error is None else error.as_json(),
            **self.extra,
        }
        return dict(JSON.unstructure(document))


def describe_measurements(timing: Timing, source: str, batch: int) -> dict[str, str]:
    """How the figures that every result has came about; ``timing`` was on ``source``, ``batch`` samples at a time."""
    clock = " of processor time" if timing.is_processor_time else ""
    device = current_device()
    where = "" if device is None else f" at {device.name} ({device.facts.get('cpu', 'unknown CPU')})"
    return {
        "latency": f"median of {len(next(iter(timing.rounds.values())))} interleaved rounds{clock}, batch {batch}, "
        f"{timing.threads} thread(s), {timing.provider} provider, onnxruntime {version()}{where}, on {source}; "
        "the ratio is the median of the per-round ratios",
        "size": "bytes on disk, external data included",
        "params": "elements of float and quantised weight initializers",
        "macs": "multiply-accumulates of Conv, Gemm and MatMul for one sample; free dimensions as given, "
        "else 1 (224 spatial)",
        "memory": "growth of the peak resident set of a fresh process that loads the model and runs it twice",
    }
