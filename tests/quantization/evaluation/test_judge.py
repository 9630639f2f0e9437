"""Which variant of a placement is taken: the smaller where it is good enough, the milder otherwise."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.quantization.context import DropOverLimit, QuantizeContext
from onnxslim.quantization.evaluation.judge import Judge
from onnxslim.quantization.float_weights import Variant
from onnxslim.quantization.options import QuantizeOptions
from tests.support.judges import judge_by


def make_variants(small_error: float, large_error: float) -> list[Variant]:
    models = [ir.Model(ir.Graph([], [], nodes=[], name=name), ir_version=8) for name in ("small", "large")]
    errors = (small_error, large_error)
    return [
        Variant(stored, model, {"y": error, "z": 0.0})
        for stored, model, error in zip(("int8", "float32"), models, errors, strict=True)
    ]


@pytest.mark.parametrize(
    ("errors", "taken", "excess"),
    [
        ((0.002, 0.0001), "int8", 0.2),
        ((0.006, 0.0001), "float32", 0.01),
        ((0.0092, 0.009), "int8", 0.92),
        ((0.5, 0.02), "float32", 2.0),
    ],
    ids=["below a quarter of what is allowed", "above it", "next to nothing more", "both too much"],
)
def test_by_sqnr_the_smaller_is_taken_while_it_adds_little(errors: tuple[float, float], taken: str, excess: float) -> None:
    judged = Judge(QuantizeContext(), QuantizeOptions()).judge(make_variants(*errors))
    assert judged.variant.float_weights == taken
    assert judged.excess == pytest.approx(excess)


@pytest.mark.parametrize(
    ("drops", "errors", "taken"),
    [
        ({"small": 0.9, "large": 0.1}, (0.5, 0.1), "int8"),
        ({"small": 1.1, "large": 0.1}, (0.5, 0.1), "float32"),
        ({"small": 3.0, "large": 2.9}, (0.11, 0.1), "int8"),
    ],
    ids=["good enough", "too much for its weights", "too much, but not for its weights"],
)
def test_by_a_metric_the_smaller_is_taken_where_it_is_good_enough_or_not_to_blame(
    drops: dict[str, float], errors: tuple[float, float], taken: str
) -> None:
    context = QuantizeContext(drop_over_limit=judge_by(lambda model: drops[str(model.graph.name)]))
    judge = Judge(context, QuantizeOptions())
    judged = judge.judge(make_variants(*errors))
    assert judged.variant.float_weights == taken
    assert judged.excess == drops[str(judged.variant.model.graph.name)]


def test_a_floor_that_is_asked_for_beside_a_metric_counts_too() -> None:
    context = QuantizeContext(drop_over_limit=judge_by(lambda model: 0.5))
    assert Judge(context, QuantizeOptions(min_sqnr=20.0)).judge(make_variants(0.02, 0.02)).excess == pytest.approx(2.0)
    assert Judge(context, QuantizeOptions()).judge(make_variants(0.02, 0.02)).excess == 0.5


def test_what_few_samples_leave_open_is_told_beside_what_is_counted() -> None:
    context = QuantizeContext(drop_over_limit=lambda model: DropOverLimit(2.5, 0.7))
    variants = make_variants(0.03, 0.03)
    judged = Judge(context, QuantizeOptions()).judge(variants)
    assert (judged.excess, judged.loss.least) == (2.5, 0.7)
    certain = Judge(context, QuantizeOptions(min_sqnr=20.0)).judge(variants)
    assert certain.loss == DropOverLimit(3.0, 3.0), "no sample leaves an SQNR open"


@pytest.mark.parametrize(("errors", "taken"), [((0.11, 0.1), "int8"), ((0.2, 0.1), "float32")])
def test_smaller_weights_of_a_given_placement_have_to_add_next_to_nothing_whatever_drop_is_seen(
    errors: tuple[float, float], taken: str
) -> None:
    """Samples that showed no drop before, where others did, show none now."""
    context = QuantizeContext(drop_over_limit=judge_by(lambda model: 0.0))
    assert Judge(context, QuantizeOptions()).take_smallest(make_variants(*errors)).float_weights == taken


def test_the_one_variant_of_a_given_placement_is_not_judged() -> None:
    context = QuantizeContext(drop_over_limit=pytest.fail)
    variants = make_variants(0.1, 0.1)[1:]
    assert Judge(context, QuantizeOptions()).take_smallest(variants) is variants[0]
