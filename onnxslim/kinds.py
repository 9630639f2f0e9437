"""The steps that a recipe may name: the options of each, and how it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.errors import UsageError
from onnxslim.progress import Progress, silent
from onnxslim.prune import prune
from onnxslim.prune.options import PruneOptions
from onnxslim.prune.survey import Surveys
from onnxslim.quantize import QuantizeOptions, quantize
from onnxslim.quantize.mixed import relax
from onnxslim.quantize.ways import ACTIVATIONS
from onnxslim.recover import RecoverOptions, recover
from onnxslim.runtime.session import SessionConfig
from onnxslim.simplify import SimplifyOptions, simplify


@dataclass(frozen=True)
class Context:
    """What a step may use besides the model.

    Attributes:
        original: The model before the first step; recovery learns from it.
        samples: The *fit* data, or None.
        config: Where things run.
        seed: Of every draw.
        progress: Told how far it is.
        surveys: What pruning found out about models with the same samples.
        unseen: Samples that nothing is fitted to and that may be chosen by, the *tune* data; None without any.
        excess: How many times what the gates allow a model's outputs drop, on the *tune* data; None without any.
        deadline: On ``time.monotonic``'s clock; what a step tries several times it does not begin again after it.
    """

    original: ir.Model
    samples: Samples | None = None
    config: SessionConfig = field(default_factory=SessionConfig)
    seed: int = 0
    progress: Progress = silent
    surveys: Surveys = field(default_factory=dict)
    unseen: Samples | None = None
    excess: Callable[[ir.Model], float] | None = None
    deadline: float | None = None

    def data(self, step: str) -> Samples:
        """The fit data, which ``step`` cannot do without."""
        if self.samples is None:
            raise UsageError(f"{step} needs data", hint=DATA_HINT)
        return self.samples


DATA_HINT = "give --data: an .npz of inputs by name, a folder of images with --preprocess, or the word random to try it out"

Options = Any
Applied = tuple[ir.Model, Account, Options]


@dataclass(frozen=True)
class Kind:
    """A step that recipes know.

    Attributes:
        options: Their type.
        apply: How it runs; it returns the resolved options too.
        timed: Whether with these options a clock decides something, so that the outcome is this machine's own.
    """

    options: type[Any]
    apply: Callable[[ir.Model, Any, Context], Applied]
    timed: Callable[[Any], bool] = lambda options: False


def _simplify(model: ir.Model, options: SimplifyOptions, context: Context) -> Applied:
    result, account = simplify(model, options, progress=context.progress)
    return result, account, options


def _prune(model: ir.Model, options: PruneOptions, context: Context) -> Applied:
    result, account = prune(
        model, context.samples, options, config=context.config, surveys=context.surveys, progress=context.progress
    )
    if options.of == "latency" and options.cuts is None and "cuts" in account.details:
        options = dataclasses.replace(options, cuts=tuple(account.details["cuts"]))
    return result, account, options


def _quantize(model: ir.Model, options: QuantizeOptions, context: Context) -> Applied:
    judged = context.excess is not None and options.min_sqnr is None
    asked = dataclasses.replace(options, min_sqnr=0.0) if judged else options
    result, account = quantize(model, context.samples, asked, config=context.config, progress=context.progress)
    way, placement = account.details["way"], account.details.get("placement")
    activations = way["way"] if way["way"] in ACTIVATIONS else options.activations
    # where this run kept its work and what it could hold is nothing that was decided
    resolved = dataclasses.replace(options, target=way["target"], activations=activations, statistics=(), max_memory=None)
    resolved = dataclasses.replace(resolved, calibration=account.details.get("calibration", options.calibration))
    if placement is None:
        return result, account, resolved
    if options.float_units is None and context.excess is not None and context.samples is not None:
        samples = context.samples

        def again(chosen: QuantizeOptions) -> tuple[ir.Model, Account]:
            return quantize(model, samples, chosen, config=context.config, progress=context.progress)

        return relax(model, samples, resolved, (result, account), again, context.excess, context.config, context.deadline)
    return result, account, dataclasses.replace(resolved, float_units=tuple(placement["float"]))


def _recover(model: ir.Model, options: RecoverOptions, context: Context) -> Applied:
    samples = context.data("recover")
    result, account = recover(
        model, context.original, samples, options, unseen=context.unseen, config=context.config, progress=context.progress
    )
    planned, ran = account.details["steps"], account.details["ran"]
    last = ran if ran < planned else None
    # neither the time that was given nor the file that kept the work was decided here
    resolved = dataclasses.replace(options, seconds=None, epochs=None, checkpoint=None, steps=planned, last=last)
    return result, account, resolved


#: Every step by name; a new one is a row here.
KINDS: dict[str, Kind] = {
    "simplify": Kind(SimplifyOptions, _simplify),
    "prune": Kind(PruneOptions, _prune, lambda asked: asked.of == "latency" and asked.cuts is None),
    "quantize": Kind(QuantizeOptions, _quantize, lambda asked: asked.placement == "measured" and asked.float_units is None),
    "recover": Kind(RecoverOptions, _recover, lambda asked: asked.steps is None and asked.epochs is None),
}
