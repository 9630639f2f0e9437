"""The rules' claims about time, executed: every claim's model as it is and as its rule rewrites it, timed side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.graph import shapes
from onnxslim.model_io import model_file
from onnxslim.runtime.session import SessionConfig, open_timed_session
from onnxslim.runtime.timing import interleave
from onnxslim.simplification.editor import BoundedEditor
from onnxslim.simplification.fixpoint import apply_rules
from onnxslim.simplification.rule import MatchContext, Rule
from onnxslim.simplification.rule_table import RULES
from onnxslim.simplification.speed.claim import SpeedClaim
from onnxslim.simplification.symbolic_shapes.inference import propagate_integers

_SECONDS_PER_CLAIM = 0.2

#: Up to this share two forms are as fast as each other: kernels of some microseconds are not told apart better.
_TOLERANCE = 0.05


@dataclass(frozen=True)
class TimedClaim:
    """One claim and what the clock says.

    Attributes:
        rule: Name of the rule.
        claim: What is believed.
        speedup: How many times faster the rewritten form is here.
    """

    rule: str
    claim: SpeedClaim
    speedup: float

    @property
    def holds(self) -> bool:
        """Whether it is as claimed, as far as the clock can tell."""
        return self.speedup >= 1 - _TOLERANCE if self.claim.gains else self.speedup <= 1 + _TOLERANCE


def rewrite(model: ir.Model, rule: Rule, *, weighs_speed: bool) -> tuple[ir.Model, StepReport]:
    """A copy of ``model`` with ``rule`` applied wherever it can be, and what the rule said.

    Args:
        model: A claim's.
        rule: The only one that is applied.
        weighs_speed: Whether it may decline because the result would be slower.
    """
    result, report = model_file.clone(model), StepReport("simplify")
    shapes.infer(result)
    context = MatchContext(result.opset_imports.get("", 1), propagate_integers(result), weighs_speed=weighs_speed)
    apply_rules(BoundedEditor(result.graph, math.inf), [rule], context, report)
    return result, report


def time_claims(config: SessionConfig | None = None) -> list[TimedClaim]:
    """Every rule's claims, timed where ``config`` says; the quickest of interleaved rounds of both forms."""
    return [_time_claim(rule, claim, config) for rule in RULES for claim in rule.claims]


def _time_claim(rule: Rule, claim: SpeedClaim, config: SessionConfig | None) -> TimedClaim:
    before = claim.build()
    after, _ = rewrite(before, rule, weighs_speed=False)
    rng = np.random.default_rng(0)
    inputs = {str(value.name): shapes.resolve_sizes(value) for value in shapes.get_required_inputs(before)}
    feed = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in inputs.items()}
    models = {"before": before, "after": after}
    sessions = {name: open_timed_session(model, config) for name, model in models.items()}
    timing = interleave(sessions, [feed], rounds=20, seconds=_SECONDS_PER_CLAIM)
    return TimedClaim(rule.name, claim, float(timing.rounds["before"].min() / timing.rounds["after"].min()))
