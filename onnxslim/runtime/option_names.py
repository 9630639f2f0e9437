"""Which session entries and provider options the installed runtime knows: it takes any, and ignores what it does not.

An entry that is misspelled changes nothing, and a figure measured with it would be about something else. The names are
strings in the runtime's own library, so that is where they are looked up: a name that is not in there cannot be read.
"""

from __future__ import annotations

import difflib
import functools
import mmap
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnxruntime as ort

from onnxslim.core.errors import UsageError
from onnxslim.runtime.providers import Provider

_LIBRARY_PATTERNS = ("*.so", "*.so.*", "*.pyd", "*.dll", "*.dylib")
#: What the name of an option holds whose value is a file: it is read, written, or loaded as code.
_FILE_WORDS = frozenset("file files path paths filepath folder dir directory lib library prefix".split())
_ENTRY_NAME = re.compile(rb"\0((?:session|ep|mlas|optimization|memory|gqa|cpu)\.[A-Za-z0-9_.]{3,80})\0")


def check_session_options(options: Mapping[str, str]) -> None:
    """Refuse entries that the installed runtime never reads.

    Raises:
        UsageError: Names the first one and what it may have been meant for.
    """
    for key in options:
        if not _is_known_entry(key):
            suggestions = difflib.get_close_matches(key, list_entries(), n=3, cutoff=0.5)
            raise UsageError(
                f"--session-option {key}: onnxruntime {ort.__version__} knows no such entry",
                hint=f"nearest: {', '.join(suggestions)}"
                if suggestions
                else "for example session.intra_op.allow_spinning=0",
            )


def check_provider_options(provider: Provider, options: Mapping[str, str]) -> None:
    """Refuse options for the CPU provider, which has none; other providers refuse what they do not know themselves.

    Raises:
        UsageError: Names the first one.
    """
    if provider.is_cpu and options:
        raise UsageError(
            f"--provider-option {next(iter(options))}: the cpu provider has no options",
            hint="threads are --threads, and entries of the session --session-option",
        )


def find_file_option(*options: Mapping[str, str]) -> str | None:
    """The first of session entries and provider options whose value names a file; what a stranger asks for may have none."""
    keys = (key for each in options for key in each)
    return next((key for key in keys if not _FILE_WORDS.isdisjoint(re.split(r"[._]", key.lower()))), None)


@functools.cache
def list_entries() -> tuple[str, ...]:
    """What the runtime's library holds that looks like the name of an entry, sorted."""
    return tuple(sorted({m[1].decode() for library in _map_libraries() for m in _ENTRY_NAME.finditer(library)}))


def _is_known_entry(key: str) -> bool:
    if not list_entries():  # a build whose library is elsewhere: then nothing can be said
        return True
    if any(name.endswith(".") and key.startswith(name) for name in list_entries()):
        return True
    needle = key.encode() + b"\0"
    return any(library.find(needle) >= 0 for library in _map_libraries())


def _map_libraries() -> Iterator[mmap.mmap]:
    folder = Path(ort.__file__).parent / "capi"
    for path in sorted({path for pattern in _LIBRARY_PATTERNS for path in folder.glob(pattern)}):
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library:
            yield library
