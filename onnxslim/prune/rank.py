"""The order in which a criterion would let the units of each family go."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.channels.units import Analysis, Site
from onnxslim.data.samples import Samples
from onnxslim.errors import UsageError
from onnxslim.graph.constants import constant
from onnxslim.prune.families import Family
from onnxslim.prune.importance import CRITERIA, Evidence
from onnxslim.prune.walk import BATCH
from onnxslim.recover import gradients
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.runtime.taps import tap

logger = logging.getLogger(__name__)

#: tensor name -> its channel axis, and how its statistic is to be read
Stats = Mapping[str, tuple[np.ndarray, np.ndarray]]


def scores(
    model: ir.Model,
    analysis: Analysis,
    families: Sequence[Family],
    criterion: str,
    samples: Samples | None,
    config: SessionConfig,
    seed: int,
) -> dict[int, np.ndarray]:
    """Position in ``families`` -> float64 (n,), larger for units that matter more; empty for ``obs``.

    A family that the criterion says nothing about (no gradient reaches its weights) has no entry either.

    Raises:
        UsageError: The criterion reads activations or gradients and there are no samples.
        UnsupportedError: It reads gradients, and there is no torch or no weight that it reaches.
    """
    chosen = CRITERIA[criterion]
    if chosen.score is None:
        return {}
    nodes = list(model.graph)
    gammas = [_gamma(analysis, nodes, family) for family in families]
    tensors: dict[str, int] = {}
    for family, gamma in zip(families, gammas, strict=True):
        if chosen.reads == "producers" and not gamma:
            tensors |= {analysis.producers[p].output: analysis.producers[p].axis for p in family.writers}
        if chosen.reads == "consumers":
            tensors |= {analysis.consumers[c].tensor: analysis.consumers[c].axis for c in family.readers}
    if samples is None and (tensors or chosen.reads == "gradients"):
        raise UsageError(f"--criterion {criterion} needs data", hint="give --data, or --criterion l2")
    if tensors and criterion == "bn":
        logger.info("BatchNormalization is folded: the measured deviation before each activation stands in")
    stats = _statistics(model, tensors, samples, config) if tensors and samples is not None else {}
    slopes: Mapping[str, np.ndarray] = {}
    if chosen.reads == "gradients" and samples is not None:
        slopes = gradients(model, samples, "fisher" if criterion == "fisher" else "taylor", seed=seed, config=config)
    found = {}
    for number, (family, gamma) in enumerate(zip(families, gammas, strict=True)):
        produced = [(analysis.producers[p].output, at) for p, at in family.writers.items()]
        read = [(analysis.consumers[c].tensor, at) for c, at in family.readers.items()]
        weights = [(analysis.producers[p].weight, at) for p, at in family.writers.items()]
        weights = weights or _reading(analysis, family)
        felt = [_slices(slopes[site.tensor], site, at) for site, at in weights if site.tensor in slopes]
        if chosen.reads == "gradients" and not felt:
            continue
        evidence = Evidence(
            filters=[_filters(nodes, site, at) for site, at in weights] or [np.ones((len(family), 1))],
            gamma=gamma,
            deviation=[stats[t][0][at].sum(axis=1) for t, at in produced if t in stats],
            energy=[np.sqrt(np.square(stats[t][1][at]).sum(axis=1)) for t, at in read if t in stats],
            slopes=felt,
            rng=np.random.default_rng([seed, number]),
        )
        found[number] = np.asarray(chosen.score(evidence), np.float64)
    return found


def orders(scored: Mapping[int, np.ndarray]) -> dict[int, list[int]]:
    """Scores -> the order in which the units of each family go, the least important first."""
    return {number: np.argsort(score, kind="stable").tolist() for number, score in scored.items()}


def _filters(nodes: Sequence[ir.Node], site: Site, at: np.ndarray) -> np.ndarray:
    array = constant(nodes[site.node].inputs[site.input])
    if array is None:
        return np.zeros((len(at), 1))
    return _slices(array, site, at)


def _slices(array: np.ndarray, site: Site, at: np.ndarray) -> np.ndarray:
    """What units at ``at`` (n, k) hold of ``array`` along the site's axis: (n, size)."""
    return np.asarray(np.moveaxis(array, site.axis, 0)[at].reshape(len(at), -1))


def _reading(analysis: Analysis, family: Family) -> list[tuple[Site, np.ndarray]]:
    found: list[tuple[Site, np.ndarray]] = []
    for position, at in family.readers.items():
        site = analysis.consumers[position].weight
        if site is not None:
            found.append((site, at))
    return found


def _gamma(analysis: Analysis, nodes: Sequence[ir.Node], family: Family) -> list[np.ndarray]:
    """The scales of the BatchNormalizations that the units pass, (n, k) each."""
    members = set(family.nodes)
    found = []
    units = {int(unit): row for row, unit in enumerate(family.units)}
    for site in analysis.sites:
        if site.op != "BatchNormalization" or site.input != 1 or site.name not in members:
            continue
        array = constant(nodes[site.node].inputs[1])
        if array is None:
            continue
        gamma = np.zeros(len(family))
        for slot, labels in enumerate(analysis.labels[site.labels]):
            for unit in labels.tolist():
                if unit in units:
                    gamma[units[unit]] += abs(float(array[slot]))
        if gamma.any():
            found.append(gamma[:, None])
    return found


def _statistics(model: ir.Model, tensors: Mapping[str, int], samples: Samples, config: SessionConfig) -> Stats:
    """tensor -> (standard deviation, root mean square) along its axis, over all samples and other axes."""
    session = Session(tap(model, tensors, only=True), config)
    sums: dict[str, tuple[int, np.ndarray, np.ndarray]] = {}
    for batch in samples.batches(BATCH):
        for name, value in session.run({key: batch[key] for key in session.inputs}).items():
            flat = np.moveaxis(value, tensors[name], 0).reshape(value.shape[tensors[name]], -1).astype(np.float64)
            count, total, square = sums.get(name, (0, np.zeros(len(flat)), np.zeros(len(flat))))
            sums[name] = (count + flat.shape[1], total + flat.sum(axis=1), square + np.square(flat).sum(axis=1))
    return {
        name: (np.sqrt(np.maximum(square / n - np.square(total / n), 0)), np.sqrt(square / n))
        for name, (n, total, square) in sums.items()
    }
