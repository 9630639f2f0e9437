"""The options that every command takes, said once: their names, what they become, and where ``--help`` shows them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import click
import onnx_ir as ir

from onnxslim.core.errors import UsageError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.core.user_functions import is_function_reference, load_function
from onnxslim.data.samples import Samples
from onnxslim.data.split import HeldPart
from onnxslim.data.states.pairs import AUTO
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.pipeline.judging import EvaluationOptions
from onnxslim.runtime.providers import PROVIDERS
from onnxslim.runtime.session import SessionConfig
from onnxslim.validation.metrics.dataset_metrics import DATASET_METRICS
from onnxslim.validation.metrics.table import METRICS

from .parameter_types import DIM, DURATION, PAIR, REPORT, SIZE, THREADS, PairType


def _build_number_type(low: int, default: int | None = None) -> dict[str, Any]:
    return {"type": click.IntRange(low), "default": default, "metavar": "N"}


def _get_field_name(names: str) -> str:
    return names.split("--")[-1].replace("-", "_")


OptionRow = tuple[str, str, dict[str, Any]]

_FLAG: dict[str, Any] = {"is_flag": True}
_PAIRS: dict[str, Any] = {"type": PAIR, "multiple": True, "metavar": "K=V"}

#: Names, help and the rest of every option, by the section of ``--help`` it is listed in; a field of
#: :class:`CommonOptions` is called like the longest name.
_OPTION_TABLE: dict[str, tuple[OptionRow, ...]] = {
    "Output": (
        ("-o --out", "Where the model goes (of commands without one: their JSON).", {"metavar": "OUT"}),
        ("--force", "Overwrite OUT.", _FLAG),
        ("--report", "Write a report: F.html or F.md.", {"type": REPORT, "metavar": "F"}),
        ("--model-card", "Write a fragment for a model card: F.md.", {"metavar": "F"}),
        ("--mlflow", "Log the outcome as a run of MLflow, in the store of MLFLOW_TRACKING_URI.", _FLAG),
        ("--json", "Print one JSON document instead of tables.", _FLAG),
        ("--explain", "Say what was left alone, and why.", _FLAG),
        ("--dry-run", "Print what would be done, and do nothing.", _FLAG),
        ("-q --quiet", "Print errors only.", _FLAG),
        ("-v --verbose", "Say what happens; twice for details.", {"count": True}),
        ("--debug", "Show the traceback of an error.", _FLAG),
    ),
    "Running": (
        ("--provider", f"{', '.join(PROVIDERS)} or cuda:1 (cpu).", {"default": "cpu", "metavar": "P"}),
        (
            "--threads",
            "Threads of one inference (1); all: one a core.",
            {"type": THREADS, "default": 1, "metavar": "N|all"},
        ),
        (
            "--batch-size",
            "Samples in one inference, judged and timed, where the model leaves that free.",
            _build_number_type(1),
        ),
        ("--concurrency", "Inferences at a time, for benchmark's throughput (1).", _build_number_type(1, 1)),
        ("--seed", "Of every draw (0).", _build_number_type(0, 0)),
        ("--session-option", "A configuration entry of the runtime's session.", _PAIRS),
        ("--provider-option", "An option of the provider.", _PAIRS),
        ("--custom-ops", "A library of custom ops to load and run.", {"multiple": True, "metavar": "LIB"}),
    ),
    "Limits": (
        ("--timeout", "End with exit code 6 when it takes longer: 30s, 10m or 1h.", {"type": DURATION, "metavar": "T"}),
        (
            "--max-memory",
            "End with exit code 6 when it takes more: 500MB, 4GB.",
            {"type": SIZE, "metavar": "B"},
        ),
        ("--allow-hardlinks", "Take data files of a model that have a second name.", _FLAG),
    ),
    "Data and judging": (
        ("--max-samples", "Draw at most N samples of each set.", _build_number_type(1)),
        ("--labels", "The key, or the csv file, of the labels.", {"metavar": "KEY"}),
        ("--group", "Samples that must stay in one set: a key, or subfolder.", {"metavar": "KEY"}),
        (
            "--preprocess",
            'How images become arrays: "resize=256 crop=224 mean=… std=…"; or the model\'s folder, whose files say it.',
            {"metavar": "SPEC"},
        ),
        (
            "--dim",
            "The size of a free dimension; one without a name is INPUT.AXIS.",
            {"type": DIM, "multiple": True, "metavar": "NAME=N"},
        ),
        (
            "--state",
            "An output that is fed back, or auto for all that names tell; samples are sequences then.",
            {**_PAIRS, "type": PairType(word=AUTO), "metavar": "OUT=IN|auto"},
        ),
        (
            "--metric",
            f"What to judge by: {', '.join((*METRICS, *DATASET_METRICS))}, or module:function with --allow-code.",
            {"metavar": "M"},
        ),
        ("--output", "An output to judge, not all that somebody reads.", {"metavar": "NAME", "multiple": True}),
        ("--allow-code", "Import and run the functions that options name.", _FLAG),
    ),
}

#: The options themselves, by section.
OPTION_SECTIONS: dict[str, tuple[click.Option, ...]] = {
    title: tuple(click.Option([*names.split(), _get_field_name(names)], help=text, **more) for names, text, more in rows)
    for title, rows in _OPTION_TABLE.items()
}


#: What every command that makes a model takes besides; of ``verify``, which repeats one, it is the other way round.
RECEIPT = click.Option(["--receipt"], metavar="F", help="Verify what was written, and write the receipt: F.json.")


@dataclass(frozen=True)
class CommonOptions:
    """What the options of :data:`OPTION_SECTIONS` became, and who is told about progress."""

    out: str | None = None
    force: bool = False
    report: str | None = None
    model_card: str | None = None
    mlflow: bool = False
    json: bool = False
    explain: bool = False
    dry_run: bool = False
    quiet: bool = False
    verbose: int = 0
    debug: bool = False
    provider: str = "cpu"
    threads: int = 1
    batch_size: int | None = None
    concurrency: int = 1
    seed: int = 0
    session_option: Mapping[str, str] = field(default_factory=dict)
    provider_option: Mapping[str, str] = field(default_factory=dict)
    custom_ops: tuple[str, ...] = ()
    timeout: float | None = None
    max_memory: int | None = None
    allow_hardlinks: bool = False
    max_samples: int | None = None
    labels: str | None = None
    group: str | None = None
    preprocess: str | None = None
    dim: Mapping[str, int] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)
    metric: str | None = None
    output: tuple[str, ...] = ()
    allow_code: bool = False
    progress: Progress = ignore_progress
    #: Where the receipt of a result goes, of commands that make one.
    receipt: str | None = None
    #: The folder whose tokenizer and preprocessor tell how inputs are made, where IN lies in one that has them.
    input_configs: str | None = None
    #: The part of the data that a receipt is about, where a run held the other back.
    part: HeldPart | None = None

    @property
    def config(self) -> SessionConfig:
        """How sessions run."""
        return SessionConfig(
            self.provider,
            self.threads,
            self.batch_size or 1,
            session_options=self.session_option,
            provider_options=self.provider_option,
            custom_ops=self.custom_ops,
        )

    @property
    def data_options(self) -> DataOptions:
        """How data are read."""
        return DataOptions(
            self.labels,
            self.preprocess,
            self.max_samples,
            self.dim,
            self.allow_code,
            self.group,
            self.state,
            self.input_configs,
            part=self.part,
        )

    @property
    def evaluation_options(self) -> EvaluationOptions:
        """What is judged, and by what."""
        metric, output = self.metric, self.output or None
        if metric is not None and is_function_reference(metric):
            return EvaluationOptions(load_function("--metric", metric, self.allow_code), output, self.batch_size)
        return EvaluationOptions(metric, output, self.batch_size)

    def open_samples(self, source: str, model: ir.Model) -> Samples:
        """The data at ``source``, for ``model``."""
        return self.data_options.open(source, model, seed=self.seed, config=self.config)

    def check_paths(self, *, makes_model: bool, folder: bool = False) -> None:
        """Refuse, before any work, what could only fail at the end of it; where OUT is a ``folder``, its report alone.

        Raises:
            UsageError: OUT is missing, exists, or cannot be there; the same of the report.
        """
        if makes_model and self.out is None and not self.dry_run:
            raise UsageError("no output named", hint="-o OUT, or --dry-run to see what would be done")
        outputs = {
            "-o": None if folder else self.out, "--report": self.report, "--model-card": self.model_card,
            "--receipt": self.receipt,
        }  # fmt: skip
        for option, path in outputs.items():
            check_output_path(option, path)
        if self.out is not None and not folder and os.path.lexists(self.out) and not self.force:
            raise UsageError(f"-o {self.out}: exists already", hint="--force overwrites it")


def check_output_path(option: str, path: str | None) -> None:
    """Refuse a file that cannot be written where it is to go; None is none.

    Raises:
        UsageError: It is nothing, a folder or no file, or its own folder is missing or cannot be written to.
    """
    if path is None:
        return
    if not path:
        raise UsageError(f"{option}: an empty name, expected that of a file")
    parent = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        raise UsageError(f"{option} {path}: a folder, expected a file")
    # /dev/stdout is such a link, whatever it is redirected to
    is_stream = os.path.islink(path) and os.path.dirname(os.readlink(path)) == "/proc/self/fd"
    if is_stream or (os.path.exists(path) and not os.path.isfile(path)):  # which a rename would put a file in the place of
        raise UsageError(f"{option} {path}: a pipe, device or socket, expected a file")
    if not os.path.isdir(parent):
        raise UsageError(f"{option} {path}: there is no folder {parent}")
    if not os.access(parent, os.W_OK):
        raise UsageError(f"{option} {path}: the folder cannot be written to")


def split_params(params: Mapping[str, object]) -> tuple[CommonOptions, dict[str, object]]:
    """The parameters of a call: the common ones as :class:`CommonOptions`, and the command's own."""
    options = {str(option.name): option for options in OPTION_SECTIONS.values() for option in options}
    pairs = {name for name, option in options.items() if isinstance(option.type, PairType)}
    common_params = {name: dict(v) if name in pairs else v for name, v in params.items() if name in options}  # type: ignore[call-overload]
    return CommonOptions(**common_params), {name: v for name, v in params.items() if name not in options}  # type: ignore[arg-type]
