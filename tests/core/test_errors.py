"""Errors carry their code, their hint, and survive the way between processes."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from onnxslim.core import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.OnnxslimError)]
TRAVELS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda error: pickle.loads(pickle.dumps(error)),
    "json": lambda error: errors.OnnxslimError.from_json(json.loads(json.dumps(error.as_json()))),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("travel", TRAVELS.values(), ids=TRAVELS)
def test_an_error_arrives_as_it_left(kind, travel):
    there = travel(kind("node 'a' is broken", hint="mend it"))
    assert type(there) is kind
    assert (str(there), there.message, there.hint) == ("node 'a' is broken", "node 'a' is broken", "mend it")
    assert (there.exit_code, there.kind) == (kind.exit_code, kind.kind)


def test_the_codes_are_those_of_the_contract():
    codes = {kind.__name__: kind.exit_code for kind in KINDS}
    assert codes == {
        "OnnxslimError": 1,
        "UsageError": 2,
        "InvalidModelError": 3,
        "InvalidDataError": 3,
        "UnsupportedError": 4,
        "GateError": 5,
        "NothingGainedError": 4,
        "InconclusiveError": 7,
        "LimitError": 6,
        "TimeLimitError": 6,
        "LostWorkerError": 6,
        "DefectError": 1,
    }
