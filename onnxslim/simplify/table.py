"""Every rewrite rule, in the order in which they are tried on a node."""

from __future__ import annotations

from onnxslim.simplify.rule import Rule
from onnxslim.simplify.rules import conv_batchnorm, identity, shape_of_known

RULES: tuple[Rule, ...] = (
    identity.RULE,
    shape_of_known.RULE,
    conv_batchnorm.RULE,
)
