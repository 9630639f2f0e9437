"""What may go from a model, and what each of it would do to the outputs: all of a pruning that no budget decides.

It is the longer part of one, and the same for every share of the same model, so a search keeps it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.channels.analysis import units
from onnxslim.data.samples import Samples
from onnxslim.graph.cost import cost
from onnxslim.progress import Progress
from onnxslim.prune.blocks import droppable
from onnxslim.prune.candidates import Candidates
from onnxslim.prune.effect import Outputs
from onnxslim.prune.elsewhere import Spread
from onnxslim.prune.factor import Factored, candidates
from onnxslim.prune.families import eligible, families
from onnxslim.prune.gram import HOLD
from onnxslim.prune.latency import BLOCK
from onnxslim.prune.options import PruneOptions
from onnxslim.prune.plan import Effects, measure, unmeasured
from onnxslim.prune.rank import orders, scores
from onnxslim.prune.score import curves
from onnxslim.runtime.session import SessionConfig
from onnxslim.workers import running

#: Samples on which candidates are compared by their effect on the outputs.
TUNE = 128
#: One of the plain model, and one with cheaper forms.
_KEPT = 2


@dataclass(frozen=True)
class Survey:
    """What may go from one model.

    Attributes:
        found: Everything that may.
        scored: What the criterion says of the units, by position of their curve; empty under ``obs``.
        effects: What each does to the outputs; unmeasured where no budget weighs them.
        account: What was declined, and warnings.
    """

    found: Candidates
    scored: Mapping[int, np.ndarray]
    effects: Effects
    account: Account


#: Surveys made on one set of samples, by model and options; the latest few.
Surveys = dict[str, Survey]


def survey(
    model: ir.Model,
    samples: Samples | None,
    options: PruneOptions,
    config: SessionConfig,
    known: Surveys,
    progress: Progress,
    *,
    weighed: bool,
) -> Survey:
    """The survey of ``model``: one that is ``known``, or a new one, which is added.

    Args:
        model: With named nodes; it is not changed.
        samples: Those of all that are ``known``, or None.
        options: Of the step.
        config: How the model runs.
        known: What was found out before.
        progress: Called as the stages go on.
        weighed: Whether a budget is to weigh candidates against each other.
    """
    asked = replace(
        options, remove=None, of="params", max_size=None, threshold=None, redundancy=None, sparsity=None, rounds=1,
        cuts=None,
    )  # fmt: skip
    key = f"{hashlib.sha256(io.to_bytes(model)).hexdigest()} {asked} {weighed}"
    if key in known:
        return known[key]
    account = Account("survey")
    analysis = units(model, lossy=samples is not None)
    chosen, declined = eligible(families(analysis), cost(model).nodes, options.exclude, options.min_layer_params)
    for name, reason in declined.items():
        account.decline(name, reason)
    scored = scores(model, analysis, chosen, options.criterion, samples, config, options.seed)
    lines = curves(model, analysis, chosen, samples, config, account, progress, orders=orders(scored), seed=options.seed)
    whole = droppable(model, list(declined)) if samples is not None and not options.uniform else []
    cheaper: list[Factored] = []
    if options.low_rank and not options.uniform:
        step = options.round_to if isinstance(options.round_to, int) else BLOCK
        refused = [n.name or "" for n in model.graph if any(re.search(p, n.name or "") for p in options.exclude)]
        cheaper = candidates(model, samples, config, progress, refused=refused, round_to=step, seed=options.seed)
    found = Candidates(model, analysis, lines, whole, samples, config, cheaper)
    effects = unmeasured(found)
    if weighed and samples is not None and not options.uniform:
        few, workers = _few(samples), running()
        outputs = Spread(model, few, config, workers) if workers.elsewhere else Outputs(model, few, config)
        effects = measure(found, outputs, progress)
    # the repaired weights were for measuring alone, and are several times the model
    bare = [replace(curve, weights={}) for curve in lines]
    known[key] = Survey(replace(found, curves=bare), scored, effects, account)
    for oldest in list(known)[:-_KEPT]:
        del known[oldest]
    return known[key]


def _few(samples: Samples) -> Samples:
    """Those on which nothing is fitted, where they fill a batch."""
    held = np.arange(len(samples))[HOLD - 1 :: HOLD][:TUNE]
    return samples.take(held) if len(held) >= (samples.fixed_batch or 1) else samples
