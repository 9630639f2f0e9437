"""What a command tried when its process died, known to the process that goes on in its place.

The runtime can end its process while it loads or runs a model, and nothing inside can catch that. Who supervises a command
(``cli/supervision.py``) starts it again where it died in an *attempt* that it can do without. The attempt ends there in the
error that tells of the death, and what was found out before is found in a folder. A process that nobody supervises keeps
nothing and knows of nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from onnxslim.core.errors import UnsupportedError

_ATTEMPT, _SURVIVAL = "attempt.json", "survived"


@dataclass
class Supervision:
    """What outlives a process.

    Attributes:
        folder: Of files that the next process finds.
        deaths: What processes before this one died of, by the key of the attempt.
    """

    folder: str
    deaths: dict[str, UnsupportedError] = field(default_factory=dict)

    def add_death(self, error: UnsupportedError) -> str | None:
        """Note that the process died as ``error`` tells, and return the name of the attempt that the next one goes on
        without; None where there was none, or where nothing could be gone on with: two died and no attempt was survived.
        """
        path = os.path.join(self.folder, _ATTEMPT)
        try:
            with open(path, encoding="utf-8") as file:
                attempt = json.load(file)
            os.remove(path)  # what the next process dies of outside of any attempt is not this one again, and again
        except (OSError, ValueError):
            return None
        if self.deaths and not os.path.exists(os.path.join(self.folder, _SURVIVAL)):
            return None
        self.deaths[attempt["key"]] = error
        return str(attempt["name"])


_supervision: Supervision | None = None


def begin_supervision(folder: str) -> Supervision:
    """From here on, in this process and in what is forked from it, attempts are noted in ``folder``, which is there."""
    global _supervision
    _supervision = Supervision(folder)
    return _supervision


@contextmanager
def attempt(key: str, name: str) -> Iterator[None]:
    """A block that a process may die in.

    Args:
        key: What is done there; the same in every process of a command, and of nothing else.
        name: The same for people.

    Raises:
        UnsupportedError: A process before this one died in it.
    """
    death = find_death(key)
    if death is not None:
        raise UnsupportedError(death.message, hint=death.hint)
    if _supervision is None:
        yield
        return
    path = os.path.join(_supervision.folder, _ATTEMPT)
    with suppress(OSError), open(path, "w", encoding="utf-8") as file:  # a full disk: what dies is not told apart then
        json.dump({"key": key, "name": name}, file)
    try:
        yield
    finally:
        with suppress(OSError):
            os.replace(path, os.path.join(_supervision.folder, _SURVIVAL))


def find_death(key: str) -> UnsupportedError | None:
    """What a process before this one died of in the attempt ``key``; None where none did."""
    return None if _supervision is None else _supervision.deaths.get(key)


def is_successor() -> bool:
    """Whether this process goes on in the place of one that died."""
    return _supervision is not None and bool(_supervision.deaths)


def find_start(name: str) -> float:
    """When, on ``time.monotonic``'s clock, the first process of this command that asked began what is called ``name``."""
    now = time.monotonic()
    if _supervision is None:
        return now
    path = os.path.join(_supervision.folder, f"{name} began")
    try:
        with open(path, encoding="ascii") as file:
            return float(file.read())
    except (OSError, ValueError):
        with suppress(OSError), open(path, "w", encoding="ascii") as file:
            file.write(repr(now))
    return now


def find_folder(name: str) -> str | None:
    """A folder ``name`` whose files the next process finds; None where there is none to be."""
    return None if _supervision is None else os.path.join(_supervision.folder, name)
