"""Protobuf's text format, as far as it can be read without a schema: fields by name, each a list of values."""

from __future__ import annotations

import re
from typing import Any

#: https://protobuf.dev/reference/protobuf/textformat-spec/: comments, strings, names, numbers, signs.
_TOKEN = re.compile(r"""\s+|\#[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[A-Za-z_][\w./]*|[+-]?[\w.+-]+|[\[\]{}<>:;,]""")
_MAX_DEPTH = 32
_CLOSING = {"{": "}", "<": ">", "[": "]"}


class TextFormatError(ValueError):
    """Not protobuf's text format; says at which line."""


def parse_text_format(text: str) -> dict[str, list[Any]]:
    """The fields of ``text``: strings without their quotes, numbers and names as they are spelled, messages as dicts.

    Raises:
        TextFormatError: It is none.
    """
    return _Reader(_split(text)).read_message("", 0)


def _split(text: str) -> list[tuple[str, int]]:
    """The tokens with their lines."""
    tokens, place, line = [], 0, 1
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise TextFormatError(f"line {line}: {text[place : place + 20]!r} is unexpected")
        if not match[0].isspace() and not match[0].startswith("#"):
            tokens.append((match[0], line))
        line += match[0].count("\n")
        place = match.end()
    return tokens


class _Reader:
    def __init__(self, tokens: list[tuple[str, int]]) -> None:
        self._tokens, self._next = tokens, 0

    def read_message(self, closing: str, depth: int) -> dict[str, list[Any]]:
        """Fields up to ``closing``, which is read too."""
        fields: dict[str, list[Any]] = {}
        while self._peek() != closing:
            name = self._take("the name of a field")
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                self._fail(f"{name!r}, expected the name of a field")
            if self._peek() == ":":
                self._take("")
            fields.setdefault(name, []).extend(self._read_value(depth))
            while self._peek() in (",", ";"):
                self._take("")
        if closing:
            self._take("")
        return fields

    def _read_value(self, depth: int) -> list[Any]:
        if depth > _MAX_DEPTH:
            raise TextFormatError("nested too deeply")
        token = self._take("a value")
        if token in ("{", "<"):
            return [self.read_message(_CLOSING[token], depth + 1)]
        if token == "[":
            values: list[Any] = []
            while self._peek() != "]":
                values += self._read_value(depth + 1)
                if self._peek() == ",":
                    self._take("")
            self._take("")
            return values
        if token in "]}>:;,":
            self._fail(f"{token!r}, expected a value")
        if token[0] not in "\"'":
            return [token]
        parts = [token[1:-1]]
        while (following := self._peek()) and following[0] in "\"'":
            parts.append(self._take("")[1:-1])
        return ["".join(parts)]

    def _peek(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _take(self, expected: str) -> str:
        if self._next >= len(self._tokens):
            raise TextFormatError(f"ends where {expected or 'more'} was expected")
        self._next += 1
        return self._tokens[self._next - 1][0]

    def _fail(self, text: str) -> None:
        raise TextFormatError(f"line {self._tokens[self._next - 1][1]}: {text}")
