"""The receipt: all that it takes to see again what was verified, and to notice where it is something else by now."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.core.converter import JSON
from onnxslim.core.cpu_info import describe_cpu
from onnxslim.core.errors import InvalidDataError, InvalidModelError, UsageError
from onnxslim.core.quantities import Drop, format_drop
from onnxslim.core.version import __version__
from onnxslim.data.samples import Samples
from onnxslim.model_io import model_file
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.pipeline.judging import EvaluationOptions
from onnxslim.pipeline.result import compute_digest
from onnxslim.runtime.session_config import SessionConfig, version
from onnxslim.verification.check import Check, Verdict

#: Of receipts written here; another one is not read.
SCHEMA = 1


@dataclass(frozen=True)
class ModelRecord:
    """A model: where it was, and the SHA-256 of its file and of each data file beside it, by name; the model first."""

    path: str | None
    files: Mapping[str, str]

    @classmethod
    def of(cls, model: ir.Model, path: str | None) -> ModelRecord:
        """The record of the file at ``path``, else of what ``model`` would be written as."""
        if path is None:
            return cls(None, {"": hashlib.sha256(model_file.to_bytes(model)).hexdigest()})
        data = {name: compute_digest(real) for name, real in sorted(model_file.find_data_files(path).items())}
        return cls(path, {os.path.basename(path): compute_digest(path), **data})

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
class DataRecord:
    """The samples: where they were, how many, and a digest of all their inputs and labels."""

    source: str | None
    n: int
    digest: str

    @classmethod
    def of(cls, samples: Samples, source: Any) -> DataRecord:
        """The record of ``samples``, read from ``source``."""
        digest = hashlib.sha256(samples.fingerprint().encode())
        if samples.labels is not None:
            digest.update(repr(samples.labels.tolist()).encode())
        path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
        return cls(path, len(samples), digest.hexdigest())

    def check_same(self, other: DataRecord, receipt: str) -> None:
        """Refuse ``other`` where it is not these samples.

        Raises:
            InvalidDataError: It is not.
        """
        if (self.n, self.digest) != (other.n, other.digest):
            many = "" if self.n == other.n else f": {other.n} samples, expected {self.n}"
            raise InvalidDataError(
                f"{other.source or 'the data'}: not the data of {receipt}{many}",
                hint="samples, labels and how they are read must be the same; verify without --receipt on other data",
            )


@dataclass(frozen=True)
class Settings:
    """What was asked, and how data were read and models run; each as the command's option of that name says it."""

    max_drop: Drop = 0.01
    min_speedup: float | None = None
    for_ort: str | None = None
    cpus: tuple[str, ...] = ()
    seed: int = 0
    labels: str | None = None
    preprocess: str | None = None
    max_samples: int | None = None
    dim: Mapping[str, int] = field(default_factory=dict)
    group: str | None = None
    state: Mapping[str, str] = field(default_factory=dict)
    metric: str | None = None
    output: tuple[str, ...] = ()
    batch_size: int | None = None
    provider: str = "cpu"
    threads: int = 1
    session_option: Mapping[str, str] = field(default_factory=dict)
    provider_option: Mapping[str, str] = field(default_factory=dict)
    custom_ops: tuple[str, ...] = ()

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
            provider_option=config.provider_options, custom_ops=config.custom_ops,
        )  # fmt: skip


def _name_function(function: Any) -> str:
    """``module:function``, as ``--metric`` takes it."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


@dataclass(frozen=True)
class Receipt:
    """What was verified, on what, with what, and how it ended; the figures stand beside it in the same document.

    Attributes:
        schema: See :data:`SCHEMA`.
        verdict: How it ended.
        candidate: What was judged.
        original: What it was held against.
        data: What it was judged on.
        settings: What was asked, and how.
        samples_used: Samples that the verdict is about, drawn by the seed.
        recipe: What made the candidate, where it says so itself.
        tool: The version of onnxslim.
        runtime: The version of onnxruntime.
        machine: The processor with its flags, the system, and versions of what counts.
    """

    schema: int
    verdict: Verdict
    candidate: ModelRecord
    original: ModelRecord
    data: DataRecord
    settings: Settings
    samples_used: int
    recipe: str | None
    tool: str = __version__
    runtime: str = field(default_factory=version)
    machine: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For the document."""
        written = dict(JSON.unstructure(self))
        written["settings"]["max_drop"] = format_drop(self.settings.max_drop)
        return written


@dataclass(frozen=True)
class ReceiptFile:
    """A receipt that was read, and the times that were measured then, which no replay can repeat."""

    path: str
    receipt: Receipt
    latency: dict[str, Any] | None

    def check_same(self, made: Receipt) -> None:
        """Refuse models and data other than the receipt's.

        Raises:
            InvalidModelError: A model is another one.
            InvalidDataError: The data are.
        """
        self.receipt.candidate.check_same(made.candidate, self.path)
        self.receipt.original.check_same(made.original, self.path)
        self.receipt.data.check_same(made.data, self.path)

    def check_verdict(self, verdict: Verdict) -> Check:
        """Whether a replay ended as the receipt says."""
        said = self.receipt.verdict
        told = f"{self.path} says {said}, and so does this run" if said == verdict else (
            f"{self.path} says {said}, this run {verdict}"
        )  # fmt: skip
        return Check("receipt", "pass" if said == verdict else "fail", told)

    def list_differences(self, made: Receipt) -> list[str]:
        """What is not as it was, a line each: the runtime and the processor may move figures by their last digits."""
        pairs = {
            "onnxslim": (self.receipt.tool, made.tool),
            "onnxruntime": (self.receipt.runtime, made.runtime),
            "the processor": (self.receipt.machine.get("cpu"), made.machine.get("cpu")),
        }
        return [
            f"{name} was {then} when the receipt was made, and is {now}"
            for name, (then, now) in pairs.items()
            if then != now
        ]


def read_receipt(path: str | os.PathLike[str]) -> ReceiptFile:
    """The receipt in the document at ``path``.

    Raises:
        UsageError: There is no such file, it holds no receipt, or one of another schema.
    """
    name = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror or error}", hint="--receipt: what `onnxslim verify -o` wrote") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{name}: not JSON", hint="--receipt: what `onnxslim verify -o` wrote") from None
    entry = document.get("receipt") if isinstance(document, Mapping) else None
    if not isinstance(entry, Mapping):
        raise UsageError(f"{name}: no receipt in it", hint="`onnxslim verify … -o receipt.json` writes one")
    if entry.get("schema") != SCHEMA:
        raise UsageError(
            f"{name}: a receipt of schema {entry.get('schema')!r}, expected {SCHEMA}",
            hint=f"it was written by onnxslim {entry.get('tool', 'of another version')}; this is {__version__}",
        )
    receipt = JSON.read(entry, Receipt, name)
    if not (receipt.candidate.files and receipt.original.files):
        raise UsageError(f"{name}: a receipt without the hashes of its models")
    if not 0 <= receipt.samples_used <= receipt.data.n:
        raise UsageError(f"{name}: {receipt.samples_used} of {receipt.data.n} samples used, expected some of them")
    return ReceiptFile(name, receipt, document.get("latency"))


def describe_machine() -> dict[str, str]:
    """The processor and its flags, the system, and the versions that figures may depend on."""
    return {
        **describe_cpu(),
        "processors": str(os.cpu_count() or "unknown"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
