"""Every command by name, in the order of the work. To add one: a file of its name
in ``commands/`` with ``@command``, and its name here.

A command's file is imported when the command is asked for: who wants one does not wait for the others.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

from click import Command

_COMMAND_NAMES = (
    "optimize",
    "simplify",
    "prune",
    "quantize",
    "recover",
    "evaluate",
    "verify",
    "compare",
    "benchmark",
    "profile",
    "inspect",
    "sensitivity",
    "doctor",
    "validate",
    "choose",
    "worker",
)


#: Where in ``commands/`` those are that have no file of their name there.
_MODULES = {"choose": "devices.choose", "worker": "devices.worker"}


class _CommandMapping(Mapping[str, Command]):
    def __getitem__(self, name: str) -> Command:
        if name not in _COMMAND_NAMES:
            raise KeyError(name)
        loaded: Command = getattr(importlib.import_module(f".commands.{_MODULES.get(name, name)}", __package__), name)
        return loaded

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMAND_NAMES)

    def __len__(self) -> int:
        return len(_COMMAND_NAMES)

    def __contains__(self, name: object) -> bool:
        return name in _COMMAND_NAMES  # Mapping's own would import it


COMMANDS: Mapping[str, Command] = _CommandMapping()
