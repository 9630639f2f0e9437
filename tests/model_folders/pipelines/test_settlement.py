"""Which part of a pipeline has to be milder."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from onnxslim.model_folders.folder_report import MemberOutcome, describe_pipeline
from onnxslim.model_folders.pipelines import settlement
from onnxslim.model_folders.pipelines.settlement import Rung, Settlement
from onnxslim.pipeline.result import Result
from onnxslim.runtime.session import Session
from onnxslim.runtime.session_config import SessionConfig
from onnxslim.validation.gates import Gates
from tests.model_folders.pipelines.test_composition import compose, disturb
from tests.support.pipelines import open_pipeline

ENCODER, DECODER = "onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx"
WEIGHTS = {ENCODER: "table", DECODER: "w_ck"}


@pytest.fixture
def settle(tmp_path):
    opened = open_pipeline("encoder_and_merged_decoder", tmp_path)
    composition = compose(opened)

    def make(member, noise):
        model = disturb(opened.models[member.path], WEIGHTS[member.path], noise)
        return MemberOutcome(member, "compressed", None, member.path, Result("quantize", model=model))

    def run(noises, gates, deadline=None, seconds=0.0, **changes):
        """Outcomes and report, where the parts have these noises by rung, the last of them none."""
        asked = []

        def redo(member, work):
            rung, _ = work(member, "")
            asked.append((member.path, rung))
            return make(member, (*noises[member.path], 0.0)[rung])

        ladder = [Rung(f"rung {number}", lambda *_, number=number: (number, None)) for number in (1, 2)]
        originals = {path: Session(model) for path, model in opened.models.items()}
        one = Settlement(composition, originals, gates, ladder, SessionConfig(), deadline)
        outcomes = {
            member.path: dataclasses.replace(make(member, noises[member.path][0]), **changes)
            for member in opened.pipeline.members
        }
        return outcomes, one.settle(outcomes, redo, seconds), one.as_json(), asked

    return run


def test_what_keeps_the_tokens_is_left_alone(settle):
    before, after, report, asked = settle({ENCODER: (1e-5, 0), DECODER: (1e-5, 0)}, Gates(max_drop=0.01))
    assert (after, asked, report["stepped_down"]) == (before, [], [])
    (line,) = describe_pipeline(report)
    assert line.startswith(f"{ENCODER} → {DECODER}, judged together on 4 texts of 24 tokens: ")


def test_the_encoder_steps_down_before_the_decoder_and_one_rung_before_two(settle):
    _, after, report, asked = settle({ENCODER: (3.0, 0.0), DECODER: (1e-5, 0.0)}, Gates(max_drop=0.01))
    assert asked == [(ENCODER, 1)]
    assert [(one["path"], one["to"]) for one in report["stepped_down"]] == [(ENCODER, "rung 1")]
    assert "rung 1: as it was" in after[ENCODER].why
    assert after[DECODER].why is None
    _, after, report, _ = settle({ENCODER: (1e-5, 1e-5), DECODER: (3.0, 0.0)}, Gates(max_drop=0.01))
    assert [one["path"] for one in report["stepped_down"]] == [DECODER]
    _, after, report, _ = settle({ENCODER: (3.0, 3.0), DECODER: (3.0, 3.0)}, Gates(max_drop=0.01))
    assert [(one["path"], one["to"]) for one in report["stepped_down"]] == [(ENCODER, "rung 2"), (DECODER, "rung 2")]
    assert report["decoders"][0]["metrics"][0]["drop"] == 0


def test_without_time_what_fails_is_exact_at_once_and_what_passes_stays(settle):
    noises, gates = {ENCODER: (3.0, 0.0), DECODER: (1e-5, 0.0)}, Gates(max_drop=0.01)
    _, after, report, asked = settle(noises, gates, deadline=0.0)
    assert asked == [(ENCODER, 2), (DECODER, 2)]
    assert [(one["path"], one["to"]) for one in report["stepped_down"]] == [(ENCODER, "rung 2"), (DECODER, "rung 2")]
    assert after[ENCODER].why.endswith("; no time left for less)")
    _, after, _, asked = settle({ENCODER: (1e-5,), DECODER: (1e-5,)}, gates, deadline=0.0)
    assert (asked, after[ENCODER].why) == ([], None)


def test_without_gates_it_is_only_told(settle):
    before, after, report, _ = settle({ENCODER: (3.0, 0.0), DECODER: (3.0, 0.0)}, Gates())
    assert after == before
    assert report["decoders"][0]["metrics"][0]["drop"] > 0.01


def test_what_is_exact_already_is_not_made_again(settle):
    before, after, _, asked = settle(
        {ENCODER: (3.0, 0.0), DECODER: (3.0, 0.0)}, Gates(max_drop=0.01), why="simplified only: no data"
    )
    assert (after, asked) == (before, [])


def test_without_a_deadline_there_is_as_much_time_as_making_the_parts_took_and_some_minutes(settle, monkeypatch):
    """By a clock that goes on by 200 seconds whenever it is asked."""
    noises, gates = {ENCODER: (3.0, 3.0), DECODER: (3.0, 0.0)}, Gates(max_drop=0.01)
    for seconds, rungs in ((0.0, [(ENCODER, 1), (ENCODER, 2), (DECODER, 2)]), (1000.0, [(ENCODER, 1), (DECODER, 1)])):
        clock = itertools.count(0.0, 200.0)
        monkeypatch.setattr(settlement.time, "monotonic", lambda clock=clock: next(clock))
        *_, asked = settle(noises, gates, seconds=seconds)
        assert asked[: len(rungs)] == rungs
        assert ((ENCODER, 2) in asked[:2]) == (seconds == 0.0)
