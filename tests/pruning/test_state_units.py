"""Units of states that go in and out: pruned inside, and streams run as with the units held at zero."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.channels.rewriter import delete_units
from onnxslim.data.sources import open_samples
from onnxslim.data.states.feedback import StateFeedback
from onnxslim.graph.traversal import name_nodes
from onnxslim.model_io import model_file
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.state_units import close_states, open_states
from onnxslim.pruning.step import prune
from onnxslim.runtime.session import Session, check_loads
from tests.support.quantize_graphs import model

INPUTS, HIDDEN, OUTPUTS = 6, 8, 3
#: (gates, which of them makes what is new)
CELLS = {"LSTM": (4, 3), "GRU": (3, 2), "RNN": (1, 0)}
STATES = {
    "apart": (
        "float[1,n,8] h, float[1,n,8] c", "float[1,n,8] hn, float[1,n,8] cn", "", "", {"hn": "h", "cn": "c"}
    ),
    "stacked": (
        "float[2,n,8] state", "float[2,n,8] next",
        "h, c = Split <axis=0> (state, halves)", "next = Concat <axis=0> (hn, cn)", {"next": "state"},
    ),
    "of another rank": (
        "float[n,8] h0, float[n,8] c0", "float[n,8] h1, float[n,8] c1",
        "h = Unsqueeze (h0, first) \n c = Unsqueeze (c0, first)", "h1 = Squeeze (hn, first) \n c1 = Squeeze (cn, first)",
        {"h1": "h0", "c1": "c0"},
    ),
}  # fmt: skip


def make_stream(op: str = "LSTM", form: str = "apart") -> tuple[ir.Model, dict[str, str]]:
    """A recurrent net that is run one step at a time."""
    gates, _ = CELLS[op]
    inputs, outputs, before, after, state = STATES[form]
    cell = "s, hn, cn = LSTM <hidden_size=8> (x, w, r, b, , h, c)"
    if op != "LSTM":
        inputs, outputs, state = "float[1,n,8] h", "float[1,n,8] hn", {"hn": "h"}
        cell = f"s, hn = {op} <hidden_size=8> (x, w, r, b, , h)"
    lines = [before, cell, after, "t = Squeeze (s, second)", "y = MatMul (t, v)"]
    text = f"g (float[1,n,6] x, {inputs}) => (float[1,n,3] y, {outputs}) {{ {chr(10).join(filter(None, lines))} }}"
    rng = np.random.default_rng(3)
    shapes = {"w": (1, gates * 8, 6), "r": (1, gates * 8, 8), "b": (1, 2 * gates * 8), "v": (8, 3)}
    constants = {name: rng.standard_normal(shape).astype(np.float32) / 2 for name, shape in shapes.items()}
    indices = {"first": np.array([0]), "second": np.array([1]), "halves": np.array([1, 1])}
    found = model(text, **constants, **{name: array for name, array in indices.items() if name in text})
    name_nodes(found.graph)
    return found, state


def run_stream(found: ir.Model, state: dict[str, str], steps: int = 6) -> np.ndarray:
    """What a caller sees who feeds back what came out."""
    rng, session = np.random.default_rng(0), Session(found)
    shapes = {value.name: [2 if dim == "n" else dim for dim in value.shape or ()] for value in found.graph.inputs}
    fed = {name: np.zeros([d if isinstance(d, int) else 2 for d in shapes[name]], np.float32) for name in state.values()}
    seen = []
    for _ in range(steps):
        got = session.run({"x": rng.standard_normal((1, 2, INPUTS)).astype(np.float32), **fed})
        fed = {name: got[output] for output, name in state.items()}
        seen.append(got["y"])
    return np.stack(seen)


def silence(found: ir.Model, op: str, units: list[int]) -> ir.Model:
    """Units that nothing ever makes anything of: from a state of zeros they stay zero."""
    gates, new = CELLS[op]
    result = model_file.clone(found)
    for name in ("w", "r", "b"):
        array = result.graph.initializers[name].const_value.numpy().copy()  # type: ignore[union-attr]
        by_gate = array.reshape(2 if name == "b" else 1, gates, HIDDEN, -1)
        by_gate[:, new, units] = 0
        result.graph.initializers[name].const_value = ir.tensor(array, name=name)
    return result


@pytest.mark.parametrize(("op", "form"), [*(("LSTM", form) for form in STATES), ("GRU", "apart"), ("RNN", "apart")])
@pytest.mark.parametrize("units", [[0], [2, 7], [1, 2, 3, 4, 5]])
def test_a_stream_without_units_runs_as_with_them_held_at_zero(op: str, form: str, units: list[int]) -> None:
    found, state = make_stream(op, form)
    pruned = model_file.clone(found)
    states = open_states(pruned, state)
    assert set(states.pairs or ()) == set(state)
    analysis = analyze_channels(pruned, lossy=True)
    assert analysis.count == HIDDEN
    delete_units(pruned, analysis, units)
    report = close_states(pruned, states)
    check_loads(pruned)
    (cell,) = (node for node in pruned.graph if node.op_type == op)
    assert cell.attributes.get_int("hidden_size", 0) == HIDDEN - len(units)
    assert [value.name for value in pruned.graph.outputs] == [value.name for value in found.graph.outputs]
    assert [value.shape for value in pruned.graph.outputs] == [value.shape for value in found.graph.outputs]
    assert len(report.warnings) == len(state)
    assert f"{HIDDEN - len(units)} of {HIDDEN} units are left" in report.warnings[0]
    np.testing.assert_allclose(run_stream(pruned, state), run_stream(silence(found, op, units), state), atol=1e-6)


@pytest.mark.parametrize("form", STATES)
def test_a_stream_that_was_pruned_is_pruned_again(form: str) -> None:
    found, state = make_stream("LSTM", form)
    pruned = model_file.clone(found)
    for units in ([2, 5], [0, 3]):  # the second time of those that are left
        states = open_states(pruned, state)
        assert set(states.pairs or ()) == set(state)
        analysis = analyze_channels(pruned, lossy=True)
        delete_units(pruned, analysis, units)
        close_states(pruned, states)
        check_loads(pruned)
    (cell,) = (node for node in pruned.graph if node.op_type == "LSTM")
    assert cell.attributes.get_int("hidden_size", 0) == HIDDEN - 4
    assert Counter(node.op_type for node in pruned.graph)["Pad"] == len(state)
    assert [value.shape for value in pruned.graph.outputs] == [value.shape for value in found.graph.outputs]
    wanted = silence(found, "LSTM", [2, 5, 0, 4])
    np.testing.assert_allclose(run_stream(pruned, state), run_stream(wanted, state), atol=1e-6)


def test_where_nothing_went_the_model_is_what_it_was() -> None:
    found, state = make_stream()
    opened = model_file.clone(found)
    assert close_states(opened, open_states(opened, state)).warnings == []
    assert Counter(node.op_type for node in opened.graph) == Counter(node.op_type for node in found.graph)
    assert [value.name for value in opened.graph.outputs] == [value.name for value in found.graph.outputs]
    np.testing.assert_array_equal(run_stream(opened, state), run_stream(found, state))


@pytest.mark.parametrize(
    "state",
    [{}, {"hn": "c", "cn": "h"}, {"y": "x"}, {"hn": "h"}],
    ids=["none", "swapped, which is the same units", "another size", "one of two"],
)
def test_states_that_are_none_of_hidden_units_or_go_out_elsewhere_stay_whole(state: dict[str, str]) -> None:
    """The other half of an LSTM's state goes in and out as before, so that its units stay."""
    found, _ = make_stream()
    opened = model_file.clone(found)
    states = open_states(opened, state)
    is_free = len(state) == 2
    assert (analyze_channels(opened, lossy=True).count > 0) == is_free
    close_states(opened, states)
    assert [value.name for value in opened.graph.outputs] == ["y", "hn", "cn"]
    check_loads(opened)


def test_a_stream_is_pruned_with_its_state_and_keeps_its_interface() -> None:
    found, state = make_stream()
    quiet = silence(found, "LSTM", [1, 4, 6])
    x = np.random.default_rng(1).standard_normal((12, 10, INPUTS)).astype(np.float32)
    feedback = StateFeedback(state, ["y", *state], Session(quiet).run)
    samples = open_samples({"x": x}, quiet, feedback=feedback)
    result, report = prune(quiet, samples, PruneOptions(remove=0.3, of="params", round_to=1))
    (cell,) = (node for node in result.graph if node.op_type == "LSTM")
    assert cell.attributes.get_int("hidden_size", 0) <= HIDDEN - 2
    assert any("units are left" in line for line in report.warnings)
    wanted, got = run_stream(quiet, state), run_stream(result, state)
    assert np.square(got - wanted).sum() < 0.3 * np.square(wanted).sum()
