"""Every command by name, in the order of the work. To add one: a file with ``@command``, and a row here."""

from __future__ import annotations

from .benchmark import benchmark
from .command import Command
from .compare import compare
from .doctor import doctor
from .evaluate import evaluate
from .inspect import inspect
from .optimize import optimize
from .profile import profile
from .prune import prune
from .quantize import quantize
from .recover import recover
from .sensitivity import sensitivity
from .simplify import simplify
from .validate import validate

COMMANDS: dict[str, Command] = {
    "optimize": optimize,
    "simplify": simplify,
    "prune": prune,
    "quantize": quantize,
    "recover": recover,
    "evaluate": evaluate,
    "compare": compare,
    "benchmark": benchmark,
    "profile": profile,
    "inspect": inspect,
    "sensitivity": sensitivity,
    "doctor": doctor,
    "validate": validate,
}  # fmt: skip
