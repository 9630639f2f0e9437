"""Which onnxruntime is old enough to be left behind: the oldest one that loads a model.

The versions up to 1.14 are from https://onnxruntime.ai/docs/reference/compatibility.html; from 1.15 on each release was
given a model of each opset and IR version, and what it loaded is what stands here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import onnx_ir as ir

from onnxslim.core.errors import UnsupportedError, UsageError


class _RuntimeRelease(NamedTuple):
    """A release and the newest ai.onnx opset, ai.onnx.ml opset and IR version that it loads."""

    version: tuple[int, int]
    opset: int
    ml: int
    ir_version: int


_RELEASES = (
    _RuntimeRelease((1, 0), 11, 2, 6),
    _RuntimeRelease((1, 3), 12, 2, 7),
    _RuntimeRelease((1, 6), 13, 2, 7),
    _RuntimeRelease((1, 8), 14, 2, 7),
    _RuntimeRelease((1, 9), 15, 2, 8),
    _RuntimeRelease((1, 11), 16, 2, 8),
    _RuntimeRelease((1, 12), 17, 3, 8),
    _RuntimeRelease((1, 14), 18, 3, 8),
    _RuntimeRelease((1, 15), 19, 3, 9),
    _RuntimeRelease((1, 17), 20, 4, 9),
    _RuntimeRelease((1, 18), 21, 5, 10),
    _RuntimeRelease((1, 21), 22, 5, 10),
    _RuntimeRelease((1, 23), 23, 5, 11),
    _RuntimeRelease((1, 24), 25, 5, 13),
    _RuntimeRelease((1, 25), 26, 5, 13),
    _RuntimeRelease((1, 32), 28, 5, 14),
)

#: The release that first runs an op of com.microsoft on the CPU, for those younger than 1.15, by (op type, bits), 0 where no
#: attribute says how many. Codes that are packed in bytes came later to GatherBlockQuantized, and ``bits`` with them.
_CONTRIB_SINCE = {
    ("MatMulNBits", 0): (1, 17),
    ("MatMulNBits", 2): (1, 24),
    ("MatMulNBits", 4): (1, 17),
    ("MatMulNBits", 8): (1, 22),
    ("GatherBlockQuantized", 0): (1, 20),
    ("GatherBlockQuantized", 2): (1, 27),
    ("GatherBlockQuantized", 4): (1, 23),
    ("GatherBlockQuantized", 8): (1, 23),
}


def check_loads_in(model: ir.Model, version: str) -> None:
    """Refuse ``model`` where onnxruntime ``version`` would not load it.

    Args:
        model: What is to be loaded.
        version: A release, as ``"1.23"`` or ``"1.23.2"``.

    Raises:
        UsageError: ``version`` is no release.
        UnsupportedError: It lacks what the model needs; the message names that.
    """
    match = re.fullmatch(r"(\d+)\.(\d+)(?:\.\d+)?", version) if isinstance(version, str) else None
    if match is None:
        raise UsageError(f"onnxruntime {version!r}: expected a release", hint='for example "1.23"')
    release = int(match[1]), int(match[2])
    if release < _RELEASES[0].version:
        raise UsageError(
            f"onnxruntime {version} is older than {_format_version(_RELEASES[0].version)}, the oldest one known here"
        )
    supported = max(entry for entry in _RELEASES if entry.version <= release)
    needs = {
        "opset": (model.opset_imports.get("", 0), supported.opset),
        "the ai.onnx.ml opset": (model.opset_imports.get("ai.onnx.ml", 0), supported.ml),
        "IR version": (model.ir_version or 0, supported.ir_version),
    }
    for name, (needed, limit) in needs.items():
        if needed > limit:
            raise UnsupportedError(
                f"the model has {name} {needed}; onnxruntime {version} loads at most {limit}",
                hint=f"onnxruntime {oldest_runtime(model)} is the oldest that loads it",
            )
    for node in model.graph.all_nodes():
        if (since := _introduced_in(node)) is not None and since > release:
            raise UnsupportedError(
                f"node {node.name or '(unnamed)'}: {node.op_type} needs onnxruntime {_format_version(since)}; "
                f"{version} was asked for"
            )


def _introduced_in(node: ir.Node) -> tuple[int, int] | None:
    """The release that first runs an op of com.microsoft, where it is one of the younger ones."""
    if node.domain != "com.microsoft":
        return None
    return _CONTRIB_SINCE.get((node.op_type, node.attributes.get_int("bits", 0) or 0))


def _format_version(version: tuple[int, int]) -> str:
    return "{}.{}".format(*version)


def oldest_runtime(model: ir.Model) -> str:
    """The oldest onnxruntime release that loads ``model``, as ``"1.17"``; ``"newer than 1.32"`` when none known does.

    Judged by the IR version, the opsets of ai.onnx and ai.onnx.ml, and the younger ops of com.microsoft. Other domains
    need a library of their own, whose age this cannot know.
    """
    candidates = [
        release.version
        for release in _RELEASES
        if model.ir_version <= release.ir_version
        and model.opset_imports.get("", 0) <= release.opset
        and model.opset_imports.get("ai.onnx.ml", 0) <= release.ml
    ]
    if not candidates:
        return "newer than {}.{}".format(*_RELEASES[-1].version)
    oldest = candidates[0]
    for node in model.graph.all_nodes():
        oldest = max(oldest, _introduced_in(node) or oldest)
    return _format_version(oldest)
