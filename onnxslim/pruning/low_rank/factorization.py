"""Cheaper forms of a linear layer: what of its inputs they can still tell apart, and how well that does.

Each form reads y = W x + b through fewer features M x, which two small layers compute, or one with a smaller kernel:

- ``channels``: r outputs of a layer of the same kernel, mixed by a second one (Zhang et al. 2015, arXiv:1505.06798). M
  spans the directions in which the outputs vary most on the data, which is the optimum (reduced-rank regression).
- ``spatial``: a kernel of one column, then one of one row (Jaderberg et al. 2014, arXiv:1405.3866).
- ``depthwise``: r kernels for each input channel, then a mix of all of them (Guo et al. 2018, arXiv:1808.07196).
- ``border``: the kernel without its outermost taps.

Whatever M is, the best mix B follows by least squares from the same Gram matrix that scores channels, so the result is
again a weight B M of the dense shape, of which :func:`split_factors` takes the parts. Arrays in, arrays out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg

#: Added to the features' Gram matrix, over its mean diagonal.
MIX_DAMPING = 1e-7


@dataclass(frozen=True)
class Factorization:
    """A form and its rank (of ``border``: 1)."""

    kind: str
    rank: int


def choose_rank(kind: str, shape: tuple[int, ...], strides: tuple[int, ...], share: float) -> Factorization | None:
    """The form of a weight (m, c, *kernel) with the largest rank that costs no more than ``share`` of the dense one."""
    if kind not in _FEATURES or not _is_applicable(kind, shape):
        return None
    rank = int(share / relative_cost(Factorization(kind, 1), shape, strides))
    if kind == "border":
        rank = min(rank, 1)
    return Factorization(kind, rank) if rank >= 1 else None


def relative_cost(factorization: Factorization, shape: tuple[int, ...], strides: tuple[int, ...]) -> float:
    """Multiply-accumulates over those of the dense layer."""
    m, c, *kernel = shape
    taps = int(np.prod(kernel))
    dense = m * c * taps
    if factorization.kind == "channels":
        return factorization.rank * (c * taps + m) / dense
    if factorization.kind == "spatial":
        return factorization.rank * (c * kernel[0] * strides[1] + m * kernel[1]) / dense
    if factorization.kind == "depthwise":
        return factorization.rank * (c * taps + c * m) / dense
    return int(np.prod([k - 2 for k in kernel])) / taps


def count_weights(factorization: Factorization, shape: tuple[int, ...]) -> int:
    """Elements of all its weights."""
    m, c, *kernel = shape
    return round(relative_cost(factorization, shape, (1,) * len(kernel)) * m * c * int(np.prod(kernel)))


def fit_factorization(
    factorization: Factorization, weight: np.ndarray, kernel: tuple[int, ...], gram: np.ndarray
) -> tuple[np.ndarray, float]:
    """The weight of that form whose outputs are nearest to those of ``weight``.

    Args:
        factorization: The form.
        weight: float64 (m, d + 1), the bias last; d is input channels × ``kernel``.
        kernel: Of a convolution; () for others.
        gram: float64 (d + 1, d + 1), the mean of [x 1]ᵀ [x 1].

    Returns:
        float64 (m, d + 1), and the error over the variance of the outputs.
    """
    dense, mean = weight[:, :-1], gram[-1, :-1] / max(float(gram[-1, -1]), 1e-30)
    covariance = gram[:-1, :-1] - np.outer(mean, mean)
    kernel_weight = dense.reshape(len(dense), -1, *kernel)
    features = _FEATURES[factorization.kind](factorization.rank, kernel_weight, covariance)
    feature_covariance = features @ covariance
    feature_gram = feature_covariance @ features.T
    mix = _solve_mix(feature_gram, feature_covariance @ dense.T)
    approximation = mix @ features
    residual = dense - approximation
    error = float(np.einsum("md,md->", residual @ covariance, residual))
    variance = float(np.einsum("md,md->", dense @ covariance, dense))
    bias = weight[:, -1] + residual @ mean
    return np.concatenate([approximation, bias[:, None]], axis=1), max(error, 0.0) / max(variance, 1e-30)


def _solve_mix(inner: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """B with B · ``inner`` = ``cross``ᵀ: damped, and more so where features that say the same make ``inner`` singular."""
    scale = max(float(np.trace(inner)) / len(inner), 1e-30)
    for power in range(8):
        shifted = inner + MIX_DAMPING * 10.0**power * scale * np.eye(len(inner))
        try:
            factor = linalg.cho_factor(shifted, lower=True, check_finite=False)
        except linalg.LinAlgError:
            continue
        return np.asarray(linalg.cho_solve(factor, cross, check_finite=False).T)
    return np.asarray(np.linalg.lstsq(inner, cross, rcond=None)[0].T)


def split_factors(factorization: Factorization, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The weights of the layers that ``factorization`` consists of.

    Args:
        factorization: The form.
        weight: (m, c, *kernel), already of that form; what is not is cut off.

    Returns:
        The first layer's weight in the layout of a convolution's, and the second's; None for ``border``, which is one.
    """
    m, c, *kernel = weight.shape
    taps = int(np.prod(kernel))
    ones = (1,) * len(kernel)
    if factorization.kind == "border":
        return weight[(slice(None), slice(None), *(slice(1, -1) for _ in kernel))], None
    if factorization.kind == "channels":
        left, right = _split_svd(weight.reshape(m, -1), factorization.rank)
        return right.reshape(-1, c, *kernel), left.reshape(m, -1, *ones)
    if factorization.kind == "spatial":
        left, right = _split_svd(weight.transpose(1, 2, 0, 3).reshape(c * kernel[0], m * kernel[1]), factorization.rank)
        columns = left.T.reshape(-1, c, kernel[0], 1)
        return columns, right.reshape(-1, m, 1, kernel[1]).transpose(1, 0, 2, 3)
    left, right = _split_svd(weight.reshape(m, c, taps).transpose(1, 0, 2), factorization.rank)
    return right.reshape(-1, 1, *kernel), left.transpose(1, 0, 2).reshape(m, -1, *ones)


def _split_svd(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """(…, a, b) as (…, a, rank) @ (…, rank, b), both of the same scale."""
    left, sizes, right = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(sizes[..., :rank])
    return left[..., :rank] * root[..., None, :], right[..., :rank, :] * root[..., :, None]


def _is_applicable(kind: str, shape: tuple[int, ...]) -> bool:
    m, c, *kernel = shape
    if kind == "channels":
        return m > 1 and c > 1
    if kind == "spatial":
        return len(kernel) == 2 and min(kernel) > 1
    if kind == "depthwise":
        return int(np.prod(kernel)) > 1 and c > 1
    return bool(kernel) and min(kernel) > 2 and all(k % 2 for k in kernel)


def _channel_features(rank: int, weight: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    dense = weight.reshape(len(weight), -1)
    rank = min(rank, len(dense))
    _, vectors = linalg.eigh(dense @ covariance @ dense.T, subset_by_index=(len(dense) - rank, len(dense) - 1))
    return np.asarray(vectors.T @ dense)


def _spatial_features(rank: int, weight: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    m, c, height, width = weight.shape
    energy = np.sqrt(np.diag(covariance).reshape(c, -1).mean(axis=1) + 1e-30)[:, None]
    flat = (weight.transpose(1, 2, 0, 3).reshape(c, -1) * energy).reshape(c * height, m * width)
    left = np.linalg.svd(flat, full_matrices=False)[0][:, :rank]
    columns = left.T.reshape(-1, c, height) / energy.T[..., None]
    return np.asarray(np.einsum("rch,wv->rwchv", columns, np.eye(width)).reshape(len(columns) * width, -1))


def _depthwise_features(rank: int, weight: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    m, c = weight.shape[:2]
    taps = int(np.prod(weight.shape[2:]))
    blocks = covariance.reshape(c, taps, c, taps)[np.arange(c), :, np.arange(c)]
    blocks = blocks + np.eye(taps) * (1e-6 * np.trace(blocks, axis1=1, axis2=2)[:, None, None] / taps + 1e-12)
    root = np.linalg.cholesky(blocks)
    right = np.linalg.svd(weight.reshape(m, c, taps).transpose(1, 0, 2) @ root, full_matrices=False)[2][:, :rank]
    kernels = np.linalg.solve(root.transpose(0, 2, 1), right.transpose(0, 2, 1)).transpose(0, 2, 1)
    result = np.zeros((c, kernels.shape[1], c, taps))
    result[np.arange(c), :, np.arange(c)] = kernels
    return np.asarray(result.reshape(-1, c * taps))


def _border_features(rank: int, weight: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    inner = np.zeros(weight.shape[2:], bool)
    inner[tuple(slice(1, -1) for _ in weight.shape[2:])] = True
    return np.asarray(np.eye(weight[0].size)[np.tile(inner.ravel(), weight.shape[1])])


#: kind -> (rank, weight (m, c, *kernel), covariance of x) -> M (f, d)
_FEATURES: dict[str, Callable[[int, np.ndarray, np.ndarray], np.ndarray]] = {
    "channels": _channel_features,
    "spatial": _spatial_features,
    "depthwise": _depthwise_features,
    "border": _border_features,
}
FACTORIZATION_KINDS = tuple(_FEATURES)
