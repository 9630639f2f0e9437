"""Receipts as files: read as a stranger's, every field held to its type and its bounds, and compared with a run of today."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxslim.core.converter import JSON, quote_name
from onnxslim.core.errors import UsageError
from onnxslim.core.version import __version__
from onnxslim.validation.latency import LatencyRecord
from onnxslim.verification.check import Check, Verdict
from onnxslim.verification.receipt import SCHEMA, ModelRecord, Receipt

_HINT = "--receipt: what `onnxslim verify … -o receipt.json` wrote"


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
        if self.receipt.data is not None and made.data is not None:
            self.receipt.data.check_same(made.data, self.path)

    def get_member(self, path: str, candidate: str, original: str) -> ReceiptFile:
        """Of a folder's receipt: that of its model ``path``, whose files, at ``candidate`` and ``original``, are compared.

        Raises:
            UsageError: The receipt does not know it.
        """
        member = self.receipt.models.get(path)
        if member is None:
            raise UsageError(f"{self.path}: nothing about {path}, which is not as its original")
        receipt = dataclasses.replace(
            self.receipt, verdict=member.verdict, candidate=ModelRecord.at(candidate), original=ModelRecord.at(original),
            data=member.data, settings=dataclasses.replace(self.receipt.settings, part=member.part),
            samples_used=member.samples_used, recipe=member.recipe, models={},
        )  # fmt: skip
        latency = None if member.latency is None else dict(JSON.unstructure(member.latency))
        return ReceiptFile(self.path, receipt, latency)

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
        UsageError: There is no such file, it holds no receipt, one of another schema, or a field that is not what it should
            be; names the field.
    """
    name = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror or error}", hint=_HINT) from None
    except (ValueError, RecursionError):
        raise UsageError(f"{name}: not JSON", hint=_HINT) from None
    entry = document.get("receipt") if isinstance(document, Mapping) else None
    if not isinstance(entry, Mapping):
        raise UsageError(f"{name}: no receipt in it", hint=_HINT)
    if entry.get("schema") != SCHEMA:
        raise UsageError(
            f"{name}: a receipt of schema {entry.get('schema')!r:.40}, expected {SCHEMA}",
            hint=f"it was written by onnxslim {entry.get('tool', 'of another version')!s:.40}; this is {__version__}",
        )
    if (place := _find_odd_text(entry, "receipt")) is not None:
        raise UsageError(f"{name}: {place}: a zero byte or half a character, expected text", hint=_HINT)
    receipt = JSON.read(entry, Receipt, f"{name}: receipt")
    latency = document.get("latency")
    if latency is not None:
        JSON.read(latency, LatencyRecord, f"{name}: latency")
    return ReceiptFile(name, receipt, latency)


def _find_odd_text(value: object, place: str) -> str | None:
    """Where in ``value``, plain JSON at ``place``, there is text that is no path anywhere; None where there is none."""
    if isinstance(value, str):
        is_odd = "\0" in value or any("\ud800" <= char <= "\udfff" for char in value)
        return place if is_odd else None
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    return next(
        (odd for key, part in parts if (odd := _find_odd_text(part, f"{place}.{quote_name(key)}")) is not None), None
    )
