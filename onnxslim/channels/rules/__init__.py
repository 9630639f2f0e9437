"""One small function per kind of op says how its channels relate; an op without a rule is pinned.

To add an op, write ``def rule(op: Op) -> None`` in the module of its kind (or list the op beside one that behaves the
same) and add it to the module's ``RULES``. What the rule does not mention stays as it is, so start with what you are
sure of. Its test is one row of ``tests/support/channel_cases.py``: a small graph and how many units it has. The oracle
does the rest.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from onnxslim.channels.rules import attention, contract, elementwise, index, normalize, reassociate, recurrent, reduce, shape
from onnxslim.channels.slots.op import Op

Rule = Callable[[Op], None]

#: op type (``domain::type`` outside ai.onnx) -> rule
RULES: dict[str, Rule] = {
    name: rule
    for kind in (attention, contract, elementwise, index, normalize, reassociate, recurrent, reduce, shape)
    for name, rule in kind.RULES.items()
}


def find_rule(node: ir.Node) -> Rule | None:
    """The rule for ``node``, if there is one."""
    return RULES.get(f"{node.domain}::{node.op_type}" if node.domain else node.op_type)
