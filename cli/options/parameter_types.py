"""What people write on a command line, as values: shares, sizes, times, pairs and models."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from onnxslim.core.errors import UsageError
from onnxslim.core.quantities import QuantityError, parse_drop, parse_duration, parse_number, parse_share, parse_size
from onnxslim.pruning.sparsity.pattern import parse_sparsity


class _ParamType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4, which 8.1 cannot spell
    """A type whose failures are the library's: one line that names the option, and a hint."""

    def refuse(self, value: object, param: click.Parameter | None, expected: str, hint: str | None = None) -> NoReturn:
        """Raise a usage error about ``value``."""
        raise UsageError(f"{_get_option_name(param)} {value}: {expected}".lstrip(), hint=hint)


class QuantityType(_ParamType):
    """What :mod:`onnxslim.core.quantities` reads: ``1%``, ``4MB``, ``10m``."""

    def __init__(self, name: str, parse: Callable[[Any], float]) -> None:
        self.name, self._parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The share, the bytes or the seconds."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except QuantityError as error:
            self.refuse(value, param, error.expected, error.hint)


class NumberType(_ParamType):
    """A finite number, above 0 with ``positive``."""

    name = "number"

    def __init__(self, *, positive: bool = False) -> None:
        self.positive = positive

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        try:
            number = float(parse_number(value, is_text=True))
        except QuantityError as error:
            self.refuse(value, param, error.expected, error.hint)
        if self.positive and number <= 0:
            self.refuse(value, param, "expected a number above 0", "for example 1.5")
        return number


class PairType(_ParamType):
    """``name=value`` → ``(name, value)``; ``whole_number`` wants a whole number of at least 1 for a value.

    A ``word`` may stand for a pair: it is ``(word, "")``.
    """

    name = "name=value"

    def __init__(self, *, whole_number: bool = False, word: str | None = None) -> None:
        self.whole_number, self.word = whole_number, word

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str | int]:
        """The pair."""
        if isinstance(value, tuple):
            return value
        if value == self.word:
            return str(value), ""
        name, equals, text = str(value).partition("=")
        if not name or not equals:
            self.refuse(value, param, "expected name=value" + (f", or {self.word}" if self.word else ""))
        if not self.whole_number:
            return name, text
        if not text.isdecimal() or int(text) < 1:
            self.refuse(value, param, f"expected a whole number for {name}", "for example batch=1")
        return name, int(text)


class MultipleType(_ParamType):
    """``8`` → 8, or the word ``auto``."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """The number, or ``auto``."""
        if value == "auto" or isinstance(value, int):
            return "auto" if value == "auto" else int(value)
        if not str(value).isdecimal() or int(value) < 1:
            self.refuse(value, param, "expected auto or a number of channels", "for example 8")
        return int(value)


#: What ``--threads all`` is until it is known where models are timed.
ALL_CORES = 0


class CountsType(_ParamType):
    """``8``, or a ``word`` for what no number says yet, 0; where there may be ``several``, ``1,8`` → ``(1, 8)``."""

    name = "numbers"

    def __init__(self, *, word: str | None = None, several: bool = False) -> None:
        self.word, self.several = word, several

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | tuple[int, ...]:
        """The number, or the numbers without repetitions."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        parts = [part.strip() for part in (value.split(",") if self.several else [value])]
        for part in parts:
            if part != self.word and not (part.isdecimal() and int(part) >= 1):
                like = f"a whole number of at least 1{f', or {self.word}' if self.word else ''}"
                self.refuse(value, param, f"expected {like}", "several with a comma between" if self.several else None)
        counts = tuple(dict.fromkeys(ALL_CORES if part == self.word else int(part) for part in parts))
        return counts if self.several else counts[0]


class NamesType(_ParamType):
    """``flip,crop`` → ``("flip", "crop")``, each one of ``choices``; ``none`` → ``()``."""

    name = "names"

    def __init__(self, choices: Sequence[str]) -> None:
        self.choices = tuple(choices)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The names."""
        if isinstance(value, tuple):
            return value
        names = tuple(part.strip() for part in str(value).split(","))
        if names == ("none",):
            return ()
        for name in names:
            if name not in self.choices:
                self.refuse(
                    value,
                    param,
                    f"no {name or 'empty name'} among {', '.join(self.choices)}",
                    "several with a comma between, or none",
                )
        return names


class SparsityType(_ParamType):
    """``50%``, ``2:4``, ``50%:1x4`` or ``<0.001``, as :mod:`onnxslim.pruning.sparsity.pattern` reads them."""

    name = "sparsity"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, which recipes take as it is."""
        parse_sparsity(value)
        return str(value)


class ModelPathType(_ParamType):
    """The path of a model that is there; what is in it is for :mod:`onnxslim.model_io.model_file` to say.

    ``folder`` takes that of a folder of models as well.
    """

    name = "model"

    def __init__(self, *, folder: bool = False) -> None:
        self.folder = folder

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The path."""
        path = str(value)
        if not path:
            raise UsageError("an empty name, expected that of a model")
        if os.path.isdir(path) and not self.folder:
            raise UsageError(f"{path}: a folder, expected an ONNX file")
        if not os.path.exists(path):
            raise UsageError(f"{path}: no such file")
        return path


class ReportPathType(_ParamType):
    """Where a report goes; the ending says what kind it is."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The path."""
        path = str(value)
        if os.path.splitext(path)[1].lower() not in (".html", ".md"):
            self.refuse(value, param, "unknown kind of report", "F.html or F.md; --json prints JSON")
        return path


SHARE, DROP, SIZE, DURATION = (
    QuantityType("share", parse_share),
    QuantityType("drop", parse_drop),
    QuantityType("size", parse_size),
    QuantityType("time", parse_duration),
)
NUMBER, POSITIVE = NumberType(), NumberType(positive=True)
PAIR, DIM = PairType(), PairType(whole_number=True)
MULTIPLE, MODEL, REPORT, SPARSITY = MultipleType(), ModelPathType(), ReportPathType(), SparsityType()
MODEL_OR_FOLDER = ModelPathType(folder=True)
THREADS = CountsType(word="all")


def _get_option_name(param: click.Parameter | None) -> str:
    if param is None:
        return ""
    longest = max(param.opts, key=len)
    return longest if longest.startswith("-") else str(param.human_readable_name)
