"""The receipt: all that it takes to see again what was verified, and to notice where it is something else by now."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.core.converter import JSON
from onnxslim.core.cpu_info import describe_cpu
from onnxslim.core.errors import InvalidModelError, UsageError
from onnxslim.core.quantities import Count, Drop, Seed, format_drop
from onnxslim.core.version import __version__
from onnxslim.data.split import HeldPart
from onnxslim.model_io import model_file
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.pipeline.judging import EvaluationOptions
from onnxslim.pipeline.result import compute_digest, describe_file
from onnxslim.pipeline.task import CompressionTask
from onnxslim.runtime.session_config import MAX_THREADS, SessionConfig, version
from onnxslim.validation.latency import LatencyRecord
from onnxslim.verification.check import Verdict
from onnxslim.verification.data_record import DataRecord, EncoderRecord

#: Of receipts written here; another one is not read.
SCHEMA = 1


@dataclass(frozen=True)
class ModelRecord:
    """A model: where it was, and the SHA-256 of its file and of each data file beside it, by name; the model first."""

    path: str | None
    files: Mapping[str, str]

    def __post_init__(self) -> None:
        if not self.files:
            raise UsageError("no files, expected the SHA-256 of each by name")

    @classmethod
    def of(cls, model: ir.Model, path: str | None) -> ModelRecord:
        """The record of the file at ``path``, else of what ``model`` would be written as."""
        return cls(None, {"": describe_file(model)[0]}) if path is None else cls.at(path)

    @classmethod
    def at(cls, path: str, recorded_as: str | None = None) -> ModelRecord:
        """The record of the file at ``path``, which is found at ``recorded_as`` later, if not there."""
        data = {name: compute_digest(real) for name, real in sorted(model_file.find_data_files(path).items())}
        place = recorded_as or path
        return cls(place, {os.path.basename(place): compute_digest(path), **data})

    def check_same_folder(self, other: ModelRecord, receipt: str) -> None:
        """Refuse ``other`` where a file of this folder is missing in it, or another one; further files may be there.

        Raises:
            InvalidModelError: It is so.
        """
        for name, digest in self.files.items():
            if other.files.get(name) != digest:
                told = "not there" if name not in other.files else "not the file"
                raise InvalidModelError(f"{os.path.join(other.path or '', name)}: {told} of {receipt}")

    def has_same_content(self, other: ModelRecord) -> bool:
        """Whether all files are those of ``other``, whatever the model's own is called."""
        return list(self.files.values()) == list(other.files.values())

    def check_same(self, other: ModelRecord, receipt: str) -> None:
        """Refuse ``other`` where it is not this model; the name of the model's own file is free.

        Raises:
            InvalidModelError: A file is missing, or another one.
        """
        (_, expected), *data = self.files.items()
        (name, found), *_ = other.files.items()
        if expected != found:
            raise InvalidModelError(
                f"{other.path or 'the model'}: not the model of {receipt} (SHA-256 {found[:9]}…, expected {expected[:9]}…)",
                hint="the receipt is of another file, or it has been written anew; verify it without --receipt",
            )
        for name, digest in data:
            if other.files.get(name) != digest:
                raise InvalidModelError(f"{name}, data of {other.path}: not those of {receipt}")


@dataclass(frozen=True)
class Settings:
    """What was asked, and how data were read and models run; each as the command's option of that name says it.

    Attributes:
        part: Which part of the data was judged on, where a command that made the model used the other.
    """

    max_drop: Drop = 0.01
    min_speedup: float | None = None
    for_ort: str | None = None
    cpus: tuple[str, ...] = ()
    seed: Seed = 0
    labels: str | None = None
    preprocess: str | None = None
    max_samples: Count | None = None
    dim: Mapping[str, Count] = field(default_factory=dict)
    group: str | None = None
    state: Mapping[str, str] = field(default_factory=dict)
    metric: str | None = None
    output: tuple[str, ...] = ()
    batch_size: Count | None = None
    provider: str = "cpu"
    threads: Count = 1
    session_option: Mapping[str, str] = field(default_factory=dict)
    provider_option: Mapping[str, str] = field(default_factory=dict)
    custom_ops: tuple[str, ...] = ()
    part: HeldPart | None = None

    def __post_init__(self) -> None:
        if self.min_speedup is not None and not 0 < self.min_speedup < math.inf:
            raise UsageError(f"min_speedup: {self.min_speedup!r}, expected a number above 0")
        if "" in self.session_option or "" in self.provider_option:
            raise UsageError("an option of the session or the provider without a name")
        if self.threads > MAX_THREADS:
            raise UsageError(f"threads: {self.threads}, expected at most {MAX_THREADS}")

    @classmethod
    def of(cls, config: SessionConfig, read: DataOptions, judge: EvaluationOptions, **asked: Any) -> Settings:
        """The settings of one call."""
        state = {read.state: ""} if isinstance(read.state, str) else read.state
        metric = _name_function(judge.metric) if callable(judge.metric) else judge.metric
        return cls(
            **asked, labels=read.labels, preprocess=read.preprocess, max_samples=read.max_samples, dim=read.dims,
            group=read.group, state=state, metric=metric, batch_size=judge.batch_size,
            output=(judge.output,) if isinstance(judge.output, str) else tuple(judge.output or ()),
            provider=config.provider, threads=config.threads, session_option=config.session_options,
            provider_option=config.provider_options, custom_ops=config.custom_ops, part=read.part,
        )  # fmt: skip


def _name_function(function: Any) -> str:
    """``module:function``, as ``--metric`` takes it."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


@dataclass(frozen=True)
class MemberReceipt:
    """Of one model of a folder, by its path there.

    Attributes:
        original: The path of what it was held against, in the folder of originals.
        verdict: How it ended.
        data: What it was judged on; None where there were none.
        part: Which part of that.
        samples_used: Samples that the verdict is about.
        recipe: What made it, where it says so itself.
        latency: The times that were measured, if any were.
    """

    original: str
    verdict: Verdict
    data: DataRecord | None
    part: HeldPart | None
    samples_used: int
    recipe: str | None
    latency: LatencyRecord | None

    def __post_init__(self) -> None:
        _check_used(self.samples_used, self.data)


@dataclass(frozen=True)
class Receipt:
    """What was verified, on what, with what, and how it ended; the figures stand beside it in the same document.

    Attributes:
        schema: See :data:`SCHEMA`.
        verdict: How it ended.
        candidate: What was judged.
        original: What it was held against.
        data: What it was judged on; None where there were none.
        settings: What was asked, and how.
        samples_used: Samples that the verdict is about, drawn by the seed.
        recipe: What made the candidate, where it says so itself.
        tool: The version of onnxslim.
        runtime: The version of onnxruntime.
        machine: The processor with its flags, the system, and versions of what counts.
        models: Of a folder: each of its models that is not as it was, by its path.
        encoders: Of a folder: what was fed to those of its originals that decoders read, by their paths.
    """

    schema: int
    verdict: Verdict
    candidate: ModelRecord
    original: ModelRecord
    data: DataRecord | None
    settings: Settings
    samples_used: int
    recipe: str | None
    tool: str = __version__
    runtime: str = field(default_factory=version)
    machine: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, MemberReceipt] = field(default_factory=dict)
    encoders: Mapping[str, EncoderRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_used(self.samples_used, self.data)

    def as_json(self) -> dict[str, Any]:
        """For the document."""
        written = dict(JSON.unstructure(self))
        written["settings"]["max_drop"] = format_drop(self.settings.max_drop)
        return written


def _check_used(used: int, data: DataRecord | None) -> None:
    given = 0 if data is None else data.n
    if not 0 <= used <= given:
        raise UsageError(f"samples_used: {used} of {given} samples used, expected some of them")


def make_receipt(
    task: CompressionTask, candidate: ModelRecord, original: ModelRecord, asked: Settings, *, recipe: str | None
) -> Receipt:
    """The receipt of what is about to be judged on the *confirm* samples of ``task``; it has no verdict yet."""
    origin = task.splits.origin
    return Receipt(
        schema=SCHEMA, verdict="cannot tell", candidate=candidate, original=original,
        data=None if origin is None else DataRecord.of(origin.samples, origin.source), settings=asked, samples_used=0,
        recipe=recipe, machine=describe_machine(),
    )  # fmt: skip


def describe_machine() -> dict[str, str]:
    """The processor and its flags, the system, and the versions that figures may depend on."""
    return {
        **describe_cpu(),
        "processors": str(os.cpu_count() or "unknown"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
