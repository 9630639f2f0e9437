"""The order in which a criterion would let the units of each family go."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.activations.observer import observe, sum_channels
from onnxslim.activations.run_context import RunContext
from onnxslim.activations.segment_executor import BATCH_SIZE
from onnxslim.activations.working_set import plan_batch_size
from onnxslim.channels.analysis.units import Analysis, Site
from onnxslim.core.errors import UsageError
from onnxslim.data.samples import Samples
from onnxslim.graph.constants import get_const_array
from onnxslim.pruning.channel_groups import ChannelGroup
from onnxslim.pruning.importance.criteria import CRITERIA, Evidence
from onnxslim.recovery.step import compute_gradient_importance
from onnxslim.runtime.session import SessionConfig

logger = logging.getLogger(__name__)

#: tensor name -> (standard deviation, root mean square) of each of its channels
ChannelStats = Mapping[str, tuple[np.ndarray, np.ndarray]]


def score_units(
    model: ir.Model, context: RunContext, analysis: Analysis, groups: Sequence[ChannelGroup], criterion: str, seed: int
) -> dict[int, np.ndarray]:
    """Position in ``groups`` -> float64 (n,), larger for units that matter more; empty for ``obs``.

    A family that the criterion says nothing about (no gradient reaches its weights) has no entry either.

    Raises:
        UsageError: The criterion reads activations or gradients and there are no samples.
        UnsupportedError: It reads gradients, and there is no torch or no weight that it reaches.
    """
    chosen, samples, config = CRITERIA[criterion], context.samples, context.config
    if chosen.score is None:
        return {}
    nodes = list(model.graph)
    gammas = [_find_gammas(analysis, nodes, group) for group in groups]
    tensors: dict[str, int] = {}
    for group, gamma in zip(groups, gammas, strict=True):
        if chosen.requires == "producers" and not gamma:
            tensors |= {analysis.producers[p].output: analysis.producers[p].axis for p in group.writers}
        if chosen.requires == "consumers":
            tensors |= {analysis.consumers[c].tensor: analysis.consumers[c].axis for c in group.readers}
    if samples is None and (tensors or chosen.requires == "gradients"):
        raise UsageError(f"--criterion {criterion} needs data", hint="give --data, or --criterion l2")
    if tensors and criterion == "bn":
        logger.info("BatchNormalization is folded: the measured deviation before each activation stands in")
    stats = _measure_stats(model, tensors, samples, config) if samples is not None else {}
    saliency: Mapping[str, np.ndarray] = {}
    if chosen.requires == "gradients" and samples is not None:
        saliency = compute_gradient_importance(
            model, samples, "fisher" if criterion == "fisher" else "taylor", seed=seed, config=config
        )
    unit_scores = {}
    for number, (group, gamma) in enumerate(zip(groups, gammas, strict=True)):
        produced = [(analysis.producers[p].output, indices) for p, indices in group.writers.items()]
        read = [(analysis.consumers[c].tensor, indices) for c, indices in group.readers.items()]
        weights = [(analysis.producers[p].weight, indices) for p, indices in group.writers.items()]
        if not weights:
            reader_sites = [(analysis.consumers[c].weight, indices) for c, indices in group.readers.items()]
            weights = [(site, indices) for site, indices in reader_sites if site is not None]
        unit_saliency = [_slices(saliency[site.tensor], site, i) for site, i in weights if site.tensor in saliency]
        if chosen.requires == "gradients" and not unit_saliency:
            continue
        evidence = Evidence(
            filters=[_filter_weights(nodes, site, indices) for site, indices in weights] or [np.ones((len(group), 1))],
            gamma=gamma,
            deviation=[stats[t][0][indices].sum(axis=1) for t, indices in produced if t in stats],
            energy=[np.sqrt(np.square(stats[t][1][indices]).sum(axis=1)) for t, indices in read if t in stats],
            saliency=unit_saliency,
            rng=np.random.default_rng([seed, number]),
        )
        unit_scores[number] = np.asarray(chosen.score(evidence), np.float64)
    return unit_scores


def order_by_score(unit_scores: Mapping[int, np.ndarray]) -> dict[int, list[int]]:
    """Scores -> the order in which the units of each family go, the least important first."""
    return {number: np.argsort(score, kind="stable").tolist() for number, score in unit_scores.items()}


def _filter_weights(nodes: Sequence[ir.Node], site: Site, indices: np.ndarray) -> np.ndarray:
    array = get_const_array(nodes[site.node].inputs[site.input])
    return np.zeros((len(indices), 1)) if array is None else _slices(array, site, indices)


def _slices(array: np.ndarray, site: Site, indices: np.ndarray) -> np.ndarray:
    """What units at ``indices`` (n, k) hold of ``array`` along the site's axis: (n, size)."""
    return np.asarray(np.moveaxis(array, site.axis, 0)[indices].reshape(len(indices), -1))


def _find_gammas(analysis: Analysis, nodes: Sequence[ir.Node], group: ChannelGroup) -> list[np.ndarray]:
    """The scales of the BatchNormalizations that the units pass, (n, k) each."""
    members = set(group.nodes)
    gammas = []
    row_of_unit = {int(unit): row for row, unit in enumerate(group.units)}
    for site in analysis.sites:
        if site.op != "BatchNormalization" or site.input != 1 or site.name not in members:
            continue
        array = get_const_array(nodes[site.node].inputs[1])
        if array is None:
            continue
        gamma = np.zeros(len(group))
        for slot, labels in enumerate(analysis.labels[site.labels]):
            for unit in labels.tolist():
                if unit in row_of_unit:
                    gamma[row_of_unit[unit]] += abs(float(array[slot]))
        if gamma.any():
            gammas.append(gamma[:, None])
    return gammas


def _measure_stats(model: ir.Model, tensors: Mapping[str, int], samples: Samples, config: SessionConfig) -> ChannelStats:
    """tensor -> (standard deviation, root mean square) along its axis, over all samples and other axes."""

    def measure(index: int, name: str, array: np.ndarray) -> np.ndarray:
        return sum_channels(array, tensors[name])

    stats = {}
    batches = samples.batches(plan_batch_size(model, samples, BATCH_SIZE))
    for name, parts in observe(model, tensors, batches, measure, config).items():
        n, total, square = np.asarray(sum(parts))
        stats[name] = (np.sqrt(np.maximum(square / n - np.square(total / n), 0)), np.sqrt(square / n))
    return stats
