"""Rules to a fixed point: a worklist of nodes, each offered to the rules of its op type in table order."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Sequence

import onnx_ir as ir

from onnxslim.account import Account
from onnxslim.simplify.edit import Editor
from onnxslim.simplify.nested import walk
from onnxslim.simplify.rule import Rule, Scene

logger = logging.getLogger(__name__)

#: A node that is not built as its op asks cannot be rewritten, and is no reason to stop.
NOT_UNDERSTOOD = "the node is not understood"

#: A rule that undoes another would go on for ever; a chain of rewrites at one place is never this long.
REWRITES_PER_NODE = 20


def rewrite(model: ir.Model, editor: Editor, rules: Sequence[Rule], scene: Scene, account: Account) -> int:
    """Apply ``rules`` everywhere, nested graphs included, until none fires; returns how often one did.

    Nodes are taken in topological order and a rewrite puts only its neighbourhood back on the list, so the time is
    near linear in the number of nodes.
    """
    by_op: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        for op_type in rule.roots:
            by_op[op_type].append(rule)
    queue = deque(node for node in walk(model.graph) if node.op_type in by_op)
    waiting = set(queue)
    left = REWRITES_PER_NODE * max(1, len(queue))
    fired = 0
    while queue and fired < left:
        node = queue.popleft()
        waiting.discard(node)
        for touched in _first_to_fire(node, by_op[node.op_type], editor, scene, account):
            fired += 1
            fresh = [other for other in (node, *touched) if other.graph is not None and other.op_type in by_op]
            queue.extend(other for other in dict.fromkeys(fresh) if other not in waiting)
            waiting.update(fresh)
    return fired


def _first_to_fire(
    node: ir.Node, rules: Sequence[Rule], editor: Editor, scene: Scene, account: Account
) -> list[list[ir.Node]]:
    """The neighbourhood of the rewrite, in a list, or an empty list when no rule fires."""
    if node.graph is None or node.domain:
        return []
    for rule in rules:
        try:
            found = rule.match(node, scene)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            logger.debug("%s on %s", rule.name, node.name, exc_info=error)
            found = f"{NOT_UNDERSTOOD} ({type(error).__name__}: {error})"
        if found is None:
            continue
        if isinstance(found, dict):
            touched = editor.replace(node, found)
            if isinstance(touched, list):
                account.count(rule.name)
                return [touched]
            found = touched
        account.decline(node.name or str(node.outputs[0].name), f"{rule.name}: {found}")
    return []
