"""Every rewrite rule, in the order in which they are tried on a node."""

from __future__ import annotations

from onnxslim.simplification.rule import Rule
from onnxslim.simplification.rules import (
    arithmetic,
    batchnorm_affine,
    branch,
    broadcast,
    cast,
    clip,
    concat,
    constant,
    conv_affine,
    conv_batchnorm,
    expand,
    gather,
    gather_transpose,
    identity,
    initial_state,
    linear_views,
    matmul_add,
    matmul_scale,
    matmul_scales,
    mean_pool,
    neutral,
    pad,
    partition,
    reduce_unit,
    reduce_unsqueeze,
    root_mean_square,
    scale_chain,
    scaler_gemm,
    sequence,
    single_slope,
    slice,  # noqa: A004
    slopes,
    squeeze_transpose,
    transpose,
    unbind,
    view,
)

_MODULES = (
    constant, identity, arithmetic, branch, neutral, cast, gather, gather_transpose, initial_state, view, expand,
    broadcast, slice, partition, sequence, reduce_unit, reduce_unsqueeze, concat, unbind, transpose, squeeze_transpose, clip,
    pad, conv_batchnorm, conv_affine, batchnorm_affine, scale_chain, matmul_scale, matmul_scales, matmul_add, linear_views,
    scaler_gemm, mean_pool, single_slope, slopes, root_mean_square,
)  # fmt: skip
RULES: tuple[Rule, ...] = tuple(module.RULE for module in _MODULES)
