"""State: fed zeros, a recurrent model is calibrated wrongly and its drift cannot be seen; carried, both are right."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.validation.evaluation import evaluate
from onnxslim.validation.sequences.state_drift import StateDrift

SIZE, STATE = 16, {"next": "state"}


def recurrent() -> ir.Model:
    """next = 0.98 · rotate(state) + x·B, y = next·C: a state that grows over a hundred steps, and then keeps its size."""
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))[0] * 0.98
    weights = {
        "A": rotation,
        "B": rng.standard_normal((SIZE, SIZE)) / SIZE,
        "C": rng.standard_normal((SIZE, SIZE)) / 4,
    }
    tensors = [ir.tensor(array.astype(np.float32), name=name) for name, array in weights.items()]
    a, b, c = (ir.Value(name=t.name, const_value=t, shape=t.shape, type=ir.TensorType(t.dtype)) for t in tensors)
    kind, shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["batch", SIZE])
    x, state = (ir.Value(name=name, type=kind, shape=shape) for name in ("x", "state"))
    kept, came = ir.node("MatMul", [state, a]), ir.node("MatMul", [x, b])
    summed = ir.node("Add", [kept.outputs[0], came.outputs[0]])
    out = ir.node("MatMul", [summed.outputs[0], c])
    for node, name in ((kept, "kept"), (came, "came"), (summed, "next"), (out, "y")):
        node.name = node.outputs[0].name = name
        node.outputs[0].type, node.outputs[0].shape = kind, shape
    nodes, outputs = [kept, came, summed, out], [out.outputs[0], summed.outputs[0]]
    graph = ir.Graph([x, state], outputs, nodes=nodes, initializers=[a, b, c], opset_imports={"": 17}, name="g")
    return ir.Model(graph, ir_version=8)


def sequences(count: int, seed: int) -> np.ndarray:
    """Inputs (sequences, time, SIZE) that pull the state the same way for long."""
    rng = np.random.default_rng(seed)
    slow = np.cumsum(rng.standard_normal((count, 100, SIZE)), axis=1) / 4
    return (slow + rng.standard_normal((count, 100, SIZE))).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return recurrent()


@pytest.fixture(scope="module")
def confirm(model: ir.Model) -> Samples:
    return DataOptions(state=STATE).open({"x": sequences(4, 1)}, model)


def zeros(model: ir.Model, x: np.ndarray) -> Samples:
    """The same steps as plain samples whose state is zero, as they are fed by who does not know of state."""
    flat = x.reshape(-1, SIZE)
    return open_samples({"x": flat, "state": np.zeros_like(flat)}, model)


def sqnr(model: ir.Model, result: ir.Model, samples: Samples) -> float:
    return evaluate(result, samples, reference=model).outputs["y"].sqnr_db


@pytest.fixture(scope="module")
def calibrated(model: ir.Model) -> dict[str, ir.Model]:
    """Quantised on the same inputs with the state carried, and with zeros."""
    options = QuantizeOptions(float_units=())
    carried = DataOptions(state=STATE).open({"x": sequences(4, 2)}, model)
    sets = {"carried": carried, "zeros": zeros(model, sequences(4, 2))}
    return {name: quantize(model, samples, options)[0] for name, samples in sets.items()}


def test_calibrated_with_zeros_for_its_state_the_model_is_wrong(
    model: ir.Model, confirm: Samples, calibrated: dict[str, ir.Model]
) -> None:
    assert sqnr(model, calibrated["carried"], confirm) > sqnr(model, calibrated["zeros"], confirm) + 10


def test_fed_zeros_the_drift_is_invisible_and_in_time_it_is_told(
    model: ir.Model, confirm: Samples, calibrated: dict[str, ir.Model]
) -> None:
    wrong = calibrated["zeros"]
    assert sqnr(model, wrong, zeros(model, sequences(4, 1))) > 25
    found = evaluate(wrong, confirm, reference=model)
    assert found.outputs["y"].sqnr_db < 15
    levels = [stretch["sqnr_db"] for stretch in found.as_json()["outputs"]["y"]["over_time"]]
    assert levels[0] > levels[-1] + 6
    assert any("output y drifts" in line for line in found.warnings)


def test_a_model_equal_to_its_original_does_not_drift(model: ir.Model, confirm: Samples) -> None:
    found = evaluate(model, confirm, reference=model)
    assert all(s["sqnr_db"] is None for s in found.as_json()["outputs"]["y"]["over_time"])
    assert not found.warnings


def test_every_model_carries_its_own_state(model: ir.Model) -> None:
    """Against a plain loop over both models: what the result gets wrong comes back to it."""
    other = recurrent()
    value = other.graph.initializers["A"]
    assert value.const_value is not None
    value.const_value = ir.tensor(value.const_value.numpy() * np.float32(0.9), name="A")
    x = sequences(1, 3)
    samples = DataOptions(state=STATE).open({"x": x}, model)
    found = evaluate(other, samples, reference=model).outputs["next"]

    def loop(which: ir.Model) -> np.ndarray:
        a, b = (which.graph.initializers[name].const_value.numpy() for name in "AB")
        state, states = np.zeros(SIZE), []
        for frame in x[0]:
            state = state @ a + frame @ b
            states.append(state)
        return np.stack(states)

    theirs, ours = loop(model), loop(other)
    expected = 10 * np.log10(np.square(theirs).sum() / np.square(theirs - ours).sum())
    assert found.sqnr_db == pytest.approx(expected, abs=0.01)


def test_stretches_cover_every_step_once() -> None:
    drift, times = StateDrift(13), np.arange(13)
    for part in np.split(times, [5, 6]):
        drift.add({"y": np.ones((len(part), 2))}, {"y": np.ones((len(part), 2)) * (1 + part[:, None])}, part)
    found = drift.as_json("y")
    covered = [t for s in found for t in range(s["first"], s["last"] + 1)]
    assert covered == list(range(13))
    assert found[0]["sqnr_db"] is None
    assert found[-1]["sqnr_db"] == pytest.approx(-10 * np.log10(np.mean([11.0**2, 12.0**2])))


def test_recovery_learns_from_the_states_that_the_original_has(model: ir.Model, confirm: Samples) -> None:
    pytest.importorskip("torch", reason="recover needs torch")
    from onnxslim.recovery.options import RecoverOptions
    from onnxslim.recovery.step import recover

    damaged = recurrent()
    rng = np.random.default_rng(5)
    for value in damaged.graph.initializers.values():
        assert value.const_value is not None
        array = value.const_value.numpy()
        value.const_value = ir.tensor(array + 0.02 * rng.standard_normal(array.shape).astype(np.float32), name=value.name)
    data = DataOptions(state=STATE).open({"x": sequences(4, 2)}, model)
    recovered, _ = recover(damaged, model, data, RecoverOptions(steps=150, lr=5e-3))
    before, after = (evaluate(m, confirm, reference=model).outputs for m in (damaged, recovered))
    assert after["y"].noise_energy < before["y"].noise_energy / 2
    assert after["next"].noise_energy < before["next"].noise_energy / 2


@pytest.mark.parametrize(("error", "is_warned"), [(1e-7, False), (9e-4, False), (1.1e-3, True), (1e-2, True)])
@pytest.mark.parametrize("starts_equal", [False, True])
def test_a_drift_is_a_warning_where_it_ends_in_an_error_that_shows(
    error: float, is_warned: bool, starts_equal: bool
) -> None:
    """An error of a thousandth is 60 dB."""
    original, growth = np.ones((8, 4)), np.linspace(0, 1, 8)[:, None]
    drift = StateDrift(8)
    drift.add({"y": original}, {"y": original + error * (growth if starts_equal else np.maximum(growth, 0.1))}, np.arange(8))
    assert not list(drift.warnings(["z"]))
    lines = list(drift.warnings(["y", "z"]))
    assert bool(lines) == is_warned
    assert len(drift.as_json("y")) == 8
    assert all("inf" not in line and ("equal over steps 0 to 0" in line) == starts_equal for line in lines)
