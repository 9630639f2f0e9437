"""One converter between plain values (YAML, JSON) and the library's records: types are checked, and what does not fit is
named by its path.

Nothing is made to fit: ``"3"`` is no number, and ``true`` is none either. What has a notation of its own
(:mod:`onnxslim.core.quantities`) is read by that.
"""

from __future__ import annotations

import difflib
import json
import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import cattrs
from cattrs.gen import make_dict_unstructure_fn, override

from onnxslim.core.errors import UsageError
from onnxslim.core.quantities import Notation, QuantityError, parse_number, parse_whole_number

T = TypeVar("T")

#: A value is quoted in an error up to so many characters.
_MAX_QUOTED_CHARS = 60


class MisfitError(Exception):
    """A value that is not what its place takes; ``path`` grows from the inside out."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.hint, self.path = message, hint, ""


def refuse(value: object, expected: str, hint: str | None = None) -> NoReturn:
    """Raise that ``value`` is not what was ``expected``."""
    text = json.dumps(value, default=str, ensure_ascii=False, skipkeys=True)
    short = text if len(text) <= _MAX_QUOTED_CHARS else f"{text[:_MAX_QUOTED_CHARS]}…"
    raise MisfitError(f"{expected}, got {short}" if expected.startswith("expected") else f"{short}: {expected}", hint)


def quote_name(name: object) -> str:
    """``name``, which may be a stranger's, in one short line: as it is where it is printable."""
    text = str(name)
    shown = text if text and text.isprintable() else ascii(text)
    return shown if len(shown) <= _MAX_QUOTED_CHARS else f"{shown[:_MAX_QUOTED_CHARS]}…"


def suggest_names(name: object, known: Iterable[str]) -> str:
    """A hint for who wrote ``name``: the nearest of the ``known`` ones, or all of them."""
    names = list(known)
    matches = difflib.get_close_matches(str(name), names, n=2, cutoff=0.4)
    return f"did you mean {' or '.join(matches)}?" if matches else f"one of {', '.join(names)}"


class Converter(cattrs.Converter):
    """Plain values to dataclasses and back; a field may have another ``key`` there, in its metadata.

    Args:
        omit_if_default: Write only the fields whose value is not the default.
    """

    def __init__(self, *, omit_if_default: bool = False) -> None:
        super().__init__(omit_if_default=omit_if_default, unstruct_collection_overrides={Mapping: dict, Sequence: list})
        for base, structure_base in ((bool, _structure_bool), (str, _structure_text)):
            self.register_structure_hook(base, structure_base)
        self.register_structure_hook(float, lambda value, _: _parse(value, parse_number))
        self.register_structure_hook(int, lambda value, _: _parse(value, parse_whole_number))
        for is_kind, structure_kind in (
            (_has_origin(Literal), _structure_choice),
            (_has_origin(list, tuple, Sequence), self._structure_sequence),
            (_has_origin(dict, Mapping), self._structure_mapping),
            (_has_origin(Union, types.UnionType), self._structure_union),
            (_has_notation, lambda value, kind: _parse(value, kind.__metadata__[0].parse)),
            (is_dataclass, self._structure_record),
        ):
            self.register_structure_hook_func(is_kind, structure_kind)
        self.register_unstructure_hook_factory(is_dataclass, self._make_unstructure_hook)

    def read(self, value: object, kind: type[T], source: str) -> T:
        """``value``, of plain dicts, lists, text and numbers, as ``kind``.

        Raises:
            UsageError: It does not fit: one line with the ``source`` and the path of what is wrong in it.
        """
        try:
            return self.structure(value, kind)
        except MisfitError as error:
            path = f"{error.path.lstrip('.')}: " if error.path else ""
            raise UsageError(f"{source}: {path}{error.message}", hint=error.hint) from None

    def structure_at(self, step: str, value: object, kind: Any) -> Any:
        """What lies ``step`` (``.name`` or ``[index]``) further into a value that is being structured."""
        try:
            return self.structure(value, kind)
        except MisfitError as error:
            error.path = step + error.path
            raise

    def _structure_record(self, value: object, kind: Any) -> Any:
        value = {} if value is None else value  # a key with nothing behind it
        hints = get_type_hints(kind, include_extras=True)
        if not isinstance(value, Mapping):
            refuse(value, "expected options by name", f"for example {next(iter(hints))}: …")
        names = {one.metadata.get("key", one.name): one.name for one in fields(kind)}
        for key in value:
            if key not in names:
                raise MisfitError(f"no option {quote_name(key)}", suggest_names(key, names))
        parts = {names[key]: self.structure_at(f".{key}", item, hints[names[key]]) for key, item in value.items()}
        required = (one for one in fields(kind) if one.init and one.default is MISSING and one.default_factory is MISSING)
        if missing := [one for one in required if one.name not in parts]:
            raise MisfitError(f"no {missing[0].metadata.get('key', missing[0].name)}, which is needed")
        try:
            return kind(**parts)
        except UsageError as error:  # the record's own check
            raise MisfitError(error.message, error.hint) from None

    def _make_unstructure_hook(self, kind: Any) -> Callable[[Any], dict[str, Any]]:
        keys: dict[str, Any] = {
            one.name: override(rename=one.metadata["key"]) for one in fields(kind) if "key" in one.metadata
        }
        return make_dict_unstructure_fn(kind, self, _cattrs_omit_if_default=self.omit_if_default, **keys)

    def _structure_sequence(self, value: object, kind: Any) -> Any:
        item_kind = get_args(kind)[0]
        items = (value,) if isinstance(value, str) and item_kind is str else value
        if not isinstance(items, (list, tuple)):
            refuse(value, "expected a list", "for example [a, b]")
        parts = [self.structure_at(f"[{index}]", item, item_kind) for index, item in enumerate(items)]
        return parts if get_origin(kind) is list else tuple(parts)

    def _structure_mapping(self, value: object, kind: Any) -> Any:
        name_kind, item_kind = get_args(kind)
        if not isinstance(value, Mapping):
            refuse(value, "expected values by name", "for example {a: b}")
        return {
            self.structure_at(step := f".{quote_name(name)}", name, name_kind): self.structure_at(step, item, item_kind)
            for name, item in value.items()
        }

    def _structure_union(self, value: object, kind: Any) -> Any:
        kinds = get_args(kind)
        if value is None and types.NoneType in kinds:
            return None
        misfits = []
        for one in kinds:
            if one is not types.NoneType:
                try:
                    return self.structure(value, one)
                except MisfitError as error:
                    misfits.append(error)
        if len(misfits) == 1:
            raise misfits[0]
        expected = (error.message.partition(",")[0].removeprefix("expected ") for error in misfits)
        refuse(value, f"expected {' or '.join(expected)}", misfits[0].hint)


def _has_origin(*origins: Any) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) in origins


def _has_notation(kind: Any) -> bool:
    return get_origin(kind) is Annotated and isinstance(kind.__metadata__[0], Notation)


def _parse(value: object, parse: Any) -> Any:
    try:
        return parse(value)
    except QuantityError as error:
        refuse(value, error.expected, error.hint)


def _structure_choice(value: object, kind: Any) -> Any:
    choices = get_args(kind)
    if value not in choices:
        refuse(value, f"expected one of {', '.join(choices)}", suggest_names(value, choices))
    return value


def _structure_bool(value: object, _: Any) -> bool:
    if not isinstance(value, bool):
        refuse(value, "expected true or false", "without quotes")
    return value


def _structure_text(value: object, _: Any) -> str:
    if not isinstance(value, str):
        refuse(value, "expected text", "in quotes where it looks like a number: '1'")
    return value


def _unstructure_float(value: float) -> float | None:
    number = value if isinstance(value, (int, float)) else float(value)  # of numpy
    return number if math.isfinite(number) else None


#: Of the JSON documents that commands print and studies keep, which have null for a number that is not finite.
JSON = Converter()
JSON.register_unstructure_hook(float, _unstructure_float)
