"""Rules to a fixed point: a worklist of nodes, each offered to the rules of its op type in table order."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.graph.traversal import walk
from onnxslim.simplification.editor import BoundedEditor
from onnxslim.simplification.rule import MatchContext, Rule, name_rewrite

logger = logging.getLogger(__name__)

#: A node that is not built as its op asks cannot be rewritten, and is no reason to stop.
NOT_UNDERSTOOD = "the node is not understood"

#: Said of a rewrite that whoever called asked not to do.
LEFT_OUT = "left out as was asked, because it was slower where it was timed"

#: A rule that undoes another would go on for ever; a chain of rewrites at one place is never this long.
MAX_REWRITES_PER_NODE = 20


def apply_rules(editor: BoundedEditor, rules: Sequence[Rule], context: MatchContext, report: StepReport) -> int:
    """Apply ``rules`` everywhere, nested graphs included, until none fires; returns how often one did.

    Nodes are taken in topological order and a rewrite puts only its neighbourhood back on the list, so the time is
    near linear in the number of nodes.
    """
    by_op: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        for op_type in rule.root_ops:
            by_op[op_type].append(rule)
    queue = deque(node for node in walk(editor.graph) if node.op_type in by_op)
    queued = set(queue)
    max_rewrites = MAX_REWRITES_PER_NODE * max(1, len(queue))
    fired = 0
    while queue and fired < max_rewrites:
        node = queue.popleft()
        queued.discard(node)
        for touched in _apply_first_rule(node, by_op[node.op_type], editor, context, report):
            fired += 1
            requeued = [other for other in (node, *touched) if other.graph is not None and other.op_type in by_op]
            queue.extend(other for other in dict.fromkeys(requeued) if other not in queued)
            queued.update(requeued)
    return fired


def _apply_first_rule(
    node: ir.Node, rules: Sequence[Rule], editor: BoundedEditor, context: MatchContext, report: StepReport
) -> list[list[ir.Node]]:
    """The neighbourhood of the rewrite, in a list, or an empty list when no rule fires."""
    if node.graph is None or node.domain:
        return []
    for rule in rules:
        rewrite = name_rewrite(rule.name, node)
        if editor.left_out.includes(rewrite):
            report.skip(node.name or str(node.outputs[0].name), f"{rule.name}: {LEFT_OUT}")
            continue
        try:
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # what leaves its type is refused below
                result = rule.match(node, context)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            logger.debug("%s on %s", rule.name, node.name, exc_info=error)
            result = f"{NOT_UNDERSTOOD} ({type(error).__name__}: {error})"
        if result is None:
            continue
        if isinstance(result, dict):
            touched = editor.replace(node, result, finite=rule.rounds)
            if isinstance(touched, list):
                report.count(rule.name)
                editor.rewrites.append(rewrite)
                return [touched]
            result = touched
        report.skip(node.name or str(node.outputs[0].name), f"{rule.name}: {result}")
    return []
