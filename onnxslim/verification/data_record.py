"""What a receipt says of samples: enough to know them again, and to find them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.samples import Samples
from onnxslim.data.split import HeldPart
from onnxslim.pipeline.data_splits import ConfirmOrigin


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
        return cls(_get_path(source), len(samples), digest.hexdigest())

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
class EncoderRecord:
    """What an encoder of a folder was fed with: its decoders, and all of them together, are judged on what comes of that.

    Attributes:
        source: Where it was.
        part: The part of it that judged.
    """

    source: str | None
    part: HeldPart | None = None

    @classmethod
    def of(cls, origin: ConfirmOrigin) -> EncoderRecord:
        """The record of samples from ``origin``."""
        return cls(_get_path(origin.source), origin.part)


def _get_path(source: Any) -> str | None:
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
