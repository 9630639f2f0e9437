"""What everything that may go does to the model's outputs, measured one by one, as far as there is time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim.core.deadline import Pacer
from onnxslim.core.progress import Progress
from onnxslim.pruning.block_dropping import build_block_trials
from onnxslim.pruning.selection.candidates import Candidates
from onnxslim.pruning.selection.distributed_effect import DistributedComparer
from onnxslim.pruning.selection.output_effect import OutputComparer


@dataclass(frozen=True)
class Effects:
    """What candidates do to the model's outputs, each on its own.

    Attributes:
        curves: For each curve, (units gone, effect) at a few levels, in rising order; empty where none was measured.
        blocks: For each block; infinite where it was not measured.
        factorizations: For each layer with cheaper forms, that of each; their own error where none was measured.
        unmeasured: How many of all these there was no time for.
    """

    curves: list[list[tuple[int, float]]]
    blocks: list[float]
    factorizations: list[list[float]]
    unmeasured: int = 0

    def are_comparable(self) -> bool:
        """Whether the outputs of any candidate could be told from the original's, or there are none."""
        curve_effects = [effect for curve in self.curves for _, effect in curve]
        all_effects = [*curve_effects, *self.blocks, *(effect for forms in self.factorizations for effect in forms)]
        return not curve_effects or bool(np.isfinite(all_effects).any())


def initial_effects(candidates: Candidates) -> Effects:
    """The effects before anything is measured: all that is known is the layers' own errors."""
    errors = [[option.error for option in factorizable.options] for factorizable in candidates.factorizable]
    return Effects([[] for _ in candidates.curves], [np.inf] * len(candidates.blocks), errors)


@dataclass(frozen=True)
class _Trial:
    """Something that may be taken, whose effect is measured.

    Attributes:
        first_node: From where on the model is another.
        number: Of the curve, block or layer.
        kind: Of these three which.
        variant: How many units go, or which form.
        is_needed: Whether nothing could be told of the curve, block or form without it.
    """

    first_node: int
    number: int
    kind: str
    variant: int
    is_needed: bool = True


def measure_effects(
    all_candidates: Candidates,
    outputs: OutputComparer | DistributedComparer,
    progress: Progress,
    pacer: Pacer | None = None,
) -> Effects:
    """The effect of every candidate; outputs are computed from where a candidate begins to differ.

    Where ``pacer`` says that not all fit, one level of each curve is measured while there is time, and what is not measured
    stays as it is.
    """
    effects, pacer = initial_effects(all_candidates), pacer or Pacer(None)
    block_trials: list[tuple[ir.Model, int]] = []
    if (samples := all_candidates.samples) is not None:
        block_trials = build_block_trials(all_candidates.model, all_candidates.blocks, samples, all_candidates.config)
    queue = [_Trial(first, number, "block", 0) for number, (_, first) in enumerate(block_trials)]
    for number, curve in enumerate(all_candidates.curves):
        levels = sorted(curve.weights)
        needed = levels[len(levels) // 2] if levels else 0
        queue += [_Trial(curve.group.first_node, number, "curve", gone, gone == needed) for gone in levels]
    for number, factorizable in enumerate(all_candidates.factorizable):
        effects.factorizations[number] = [np.inf] * len(factorizable.options)
        queue += [_Trial(factorizable.position, number, "forms", variant) for variant in range(len(factorizable.options))]
    queue.sort(key=lambda trial: (trial.first_node, trial.number, trial.kind, trial.variant))
    begun: deque[_Trial] = deque()

    def iterate_trials() -> Iterator[tuple[ir.Model, int]]:
        for done, trial in enumerate(queue):
            if not (trial.is_needed or pacer.fits_all(len(queue) - done)) or not pacer.fits():
                continue
            begun.append(trial)
            if trial.kind == "block":
                yield block_trials[trial.number][0], trial.first_node
            elif trial.kind == "curve":
                yield all_candidates.build_trial(trial.number, trial.variant), trial.first_node
            else:
                yield all_candidates.build_factorized(trial.number, trial.variant), trial.first_node

    measured_count = 0
    for effect in outputs.measure_effects(iterate_trials()):
        trial, measured_count = begun.popleft(), measured_count + 1
        if trial.kind == "block":
            effects.blocks[trial.number] = effect
        elif trial.kind == "curve":
            effects.curves[trial.number].append((trial.variant, effect))
        else:
            effects.factorizations[trial.number][trial.variant] = effect
        progress("effects", measured_count, len(queue))
    return replace(effects, unmeasured=len(queue) - measured_count)
