"""What a model keeps for its own next step."""

from __future__ import annotations

import numpy as np

from onnxslim.validation.output_kinds.recognition import recognize
from tests.support.observed import make_logits, observe_outputs

RNG = np.random.default_rng(0)
LOGITS = make_logits(40, 10)


def test_what_is_fed_back_and_what_decoders_keep_gates_nothing() -> None:
    state = RNG.normal(size=(40, 1, 16))
    outputs = {"logits": LOGITS, "h_out": state, "present.0.key": state, "present_key_values": state}
    kinds = recognize(observe_outputs(outputs, state={"h_out": "h"}))
    assert [bool(kind.gates) for kind in kinds] == [True, False, False, False]
    assert "fed back to h" in kinds[1].reason


def test_what_looks_like_a_state_is_judged_mildly_and_the_option_is_named() -> None:
    kinds = recognize(observe_outputs({"logits": LOGITS, "hx_state": RNG.normal(size=(40, 20))}))
    assert kinds[1].name == "embeddings" or kinds[1].gates
    given = {"logits": LOGITS, "state_out": RNG.normal(size=(40, 20))}
    observed = observe_outputs(given)
    fed = type(observed)(observed.outputs, {"state": np.zeros((1, 20), np.float32)})
    kind = recognize(fed)[1]
    assert (kind.name, kind.alternative) == ("state", "--state state_out=state feeds it back")
    assert kind.leniency > 1


def test_a_state_that_is_named_or_is_all_there_is_is_judged() -> None:
    state = RNG.normal(size=(40, 16))
    observed = observe_outputs({"logits": LOGITS, "h_out": state}, state={"h_out": "h"})
    assert recognize(observed, named=["h_out"])[0].gates
    alone = observe_outputs({"h_out": state}, state={"h_out": "h"})
    assert recognize(alone)[0].gates
