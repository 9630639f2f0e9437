"""Constants of one branch that another branch's outer value of the same name takes the place of.

ONNX wants a name to mean one thing in nested graphs, but its checker lets an initializer of a branch have the name of a
value around the If. Alone it hides that value. Where another branch of the If reads the outer one, the runtime hands it to
all branches by its name, and it overwrites the initializer; what it computes is what the model means here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import onnx_ir as ir

logger = logging.getLogger(__name__)


def resolve_branch_constants(model: ir.Model) -> None:
    """Let each branch read the outer value where the runtime does, in place."""
    for graph in model.graphs():
        for node in graph:
            if node.op_type != "If" or node.domain:
                continue
            branches = [
                attribute.as_graph() for attribute in node.attributes.values() if attribute.type is ir.AttributeType.GRAPH
            ]
            captured = {str(value.name): value for branch in branches for value in _iter_captured(branch)}
            for branch in branches:
                for name in captured.keys() & branch.initializers.keys():
                    logger.info("'%s' of a branch of %s is overwritten by what another branch reads", name, node.name)
                    branch.initializers[name].replace_all_uses_with(captured[name], replace_graph_outputs=True)
                    del branch.initializers[name]


def _iter_captured(branch: ir.Graph) -> Iterator[ir.Value]:
    """What ``branch``, or a graph in it, reads or returns from outside."""
    inner = {branch, *branch.subgraphs()}
    read = (value for node in branch.all_nodes() for value in node.inputs if value is not None)
    returned = (value for graph in inner for value in graph.outputs)
    yield from (
        value for values in (read, returned) for value in values if value.graph is not None and value.graph not in inner
    )
