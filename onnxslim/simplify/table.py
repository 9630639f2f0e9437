"""Every rewrite rule, in the order in which they are tried on a node."""

from __future__ import annotations

from onnxslim.simplify.rule import Rule
from onnxslim.simplify.rules import (
    arithmetic,
    batchnorm_affine,
    branch,
    cast,
    clip,
    concat,
    constant,
    conv_affine,
    conv_batchnorm,
    expand,
    gather,
    identity,
    initial_state,
    matmul_add,
    matmul_scale,
    mean_pool,
    neutral,
    pad,
    reduce_unit,
    scale_chain,
    sequence,
    slice,  # noqa: A004
    transpose,
    view,
)

RULES: tuple[Rule, ...] = (
    constant.RULE,
    identity.RULE,
    arithmetic.RULE,
    branch.RULE,
    neutral.RULE,
    cast.RULE,
    gather.RULE,
    initial_state.RULE,
    view.RULE,
    expand.RULE,
    slice.RULE,
    sequence.RULE,
    reduce_unit.RULE,
    concat.RULE,
    transpose.RULE,
    clip.RULE,
    pad.RULE,
    conv_batchnorm.RULE,
    conv_affine.RULE,
    batchnorm_affine.RULE,
    scale_chain.RULE,
    matmul_scale.RULE,
    matmul_add.RULE,
    mean_pool.RULE,
)
