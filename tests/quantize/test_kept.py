"""Statistics in a file: gone on from, merged, and refused when they are not of this model and these data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim import io
from onnxslim.data.sources import open_samples
from onnxslim.errors import InvalidDataError
from onnxslim.quantize import QuantizeOptions, calibrate, kept, quantize
from onnxslim.quantize.kept import Keeper, Kept

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,4] x) => (float[1,4] y) <float[4,4] w = {1,0,0,2, 0,1,0,0, 0,0,1,0, 3,0,0,1}> { y = MatMul(x, w) }"""
NAMES = ["x", "y"]


@pytest.fixture
def model() -> ir.Model:
    return ir.from_onnx_text(TEXT)


def feeds(n: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(size=(1, 4)).astype(np.float32)} for _ in range(n)]


def digests(samples: list[dict[str, np.ndarray]]) -> list[bytes]:
    return [sample["x"].tobytes() for sample in samples]


def taken(model: ir.Model, samples: list[dict[str, np.ndarray]], path: Path) -> Kept:
    calibrate.statistics(model, samples, NAMES, keeper=Keeper(str(path), model, NAMES, digests(samples)))
    return kept.load(str(path))


def assert_same(a: Kept, b: Kept) -> None:
    assert (a.model, a.samples) == (b.model, b.samples)
    for field in ("lows", "highs", "exponents", "counts"):
        np.testing.assert_array_equal(getattr(a.statistics, field), getattr(b.statistics, field))


def test_files_of_two_halves_add_up_to_the_file_of_the_whole(model: ir.Model, tmp_path: Path) -> None:
    samples = feeds(9)
    first, second, whole = (
        taken(model, part, tmp_path / name)
        for part, name in ((samples[:4], "a.npz"), (samples[4:], "b.npz"), (samples, "c.npz"))
    )
    assert_same(first.merge(second), whole)
    with pytest.raises(InvalidDataError, match="4 samples are in both"):
        first.merge(whole)


def test_an_interrupted_run_goes_on_to_the_same_statistics(
    model: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "PAUSE", 0.0)
    samples, path = feeds(9), str(tmp_path / "s.npz")

    def interrupted(stage: str, done: int, total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    keeper = Keeper(path, model, NAMES, digests(samples))
    with pytest.raises(KeyboardInterrupt):
        calibrate.statistics(model, samples, NAMES, None, interrupted, keeper=keeper)
    keeper = Keeper(path, model, NAMES, digests(samples))
    assert keeper.done == 5
    calibrate.statistics(model, samples[keeper.done :], NAMES, keeper=keeper)
    assert_same(kept.load(path), taken(model, samples, tmp_path / "whole.npz"))


def test_another_model_and_other_data_are_refused(model: ir.Model, tmp_path: Path) -> None:
    path, samples = tmp_path / "s.npz", feeds(3)
    taken(model, samples, path)
    other = ir.from_onnx_text(TEXT.replace("3,0,0,1}", "3,0,0,9}"))
    with pytest.raises(InvalidDataError, match="of another model"):
        Keeper(str(path), other, NAMES, digests(samples))
    with pytest.raises(InvalidDataError, match="of other data"):
        Keeper(str(path), model, NAMES, digests(feeds(3, seed=1)))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", None])
def test_what_is_no_file_of_statistics_is_refused(model: ir.Model, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "s.npz"
    if content is None:
        np.savez(path, names=np.array(["x"]))
    else:
        path.write_bytes(content)
    with pytest.raises(InvalidDataError, match="no statistics of calibration"):
        Keeper(str(path), model, NAMES, [])


def test_a_second_run_reads_the_file_and_writes_the_same_model(tmp_path: Path) -> None:
    folder = Path(__file__).resolve().parent.parent.parent / "sample_models"
    model = io.load(folder / "digits_cnn.onnx")
    data = open_samples(folder / "digits_calib.npz", model, max_samples=12)
    options = QuantizeOptions(placement="static", calibration="minmax", statistics=str(tmp_path / "s.npz"))
    seen: list[str] = []
    first, _ = quantize(model, data, options)
    second, _ = quantize(model, data, options, progress=lambda stage, done, total: seen.append(stage))
    assert "statistics" not in seen
    assert io.to_bytes(first) == io.to_bytes(second)
