"""Statistics in a file: gone on from, merged, and refused when they are not of this model and these data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration import cache, observe
from onnxslim.quantization.calibration.cache import CacheFiles, CacheWriter, CalibrationCache, EqualizationStatistics
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from tests.support.paths import SAMPLES

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,4] x) => (float[1,4] y) <float[4,4] w = {1,0,0,2, 0,1,0,0, 0,0,1,0, 3,0,0,1}> { y = MatMul(x, w) }"""
NAMES = ["x", "y"]
BASIS = EqualizationStatistics({"x": (np.ones(4), np.full(4, 0.5))}, include_clips=False)


@pytest.fixture
def model() -> ir.Model:
    return ir.from_onnx_text(TEXT)


def feeds(n: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(size=(1, 4)).astype(np.float32)} for _ in range(n)]


def digests(samples: list[dict[str, np.ndarray]]) -> list[bytes]:
    return [sample["x"].tobytes() for sample in samples]


def keeper_of(model: ir.Model, samples: list[dict[str, np.ndarray]], *paths: Path) -> CacheWriter:
    return CacheWriter(CacheFiles(list(map(str, paths)), model), NAMES, digests(samples), BASIS)


def taken(model: ir.Model, samples: list[dict[str, np.ndarray]], path: Path) -> CalibrationCache:
    observe.collect_statistics(model, samples, NAMES, cache_writer=keeper_of(model, samples, path))
    return cache.load(str(path))


def assert_same(a: CalibrationCache, b: CalibrationCache) -> None:
    assert (a.model_hash, a.sample_hashes) == (b.model_hash, b.sample_hashes)
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


def test_files_of_other_parts_are_added_and_their_samples_not_seen_again(model: ir.Model, tmp_path: Path) -> None:
    samples = feeds(9)
    paths = [tmp_path / name for name in ("a.npz", "b.npz")]
    for part, path in ((samples[:4], paths[0]), (samples[4:7], paths[1])):
        taken(model, part, path)
    whole = taken(model, samples, tmp_path / "c.npz").statistics
    keeper = keeper_of(model, samples, *paths)
    assert (keeper.remaining.tolist(), keeper.extra_count) == ([7, 8], 0)
    rest = observe.collect_statistics(model, samples[7:], NAMES, cache_writer=keeper)
    for name in NAMES:
        np.testing.assert_array_equal(
            keeper.merge_all(rest).build_histogram([name]).counts, whole.build_histogram([name]).counts
        )
    assert cache.load(str(paths[0])).sample_hashes == tuple(d.hex() for d in digests(samples[:4] + samples[7:]))
    # of a part of the data alone: what the other file knows is added all the same
    taken(model, samples[:4], tmp_path / "d.npz")
    later = keeper_of(model, samples[:4], tmp_path / "d.npz", paths[1])
    assert (later.remaining.tolist(), later.extra_count) == ([], 3)


def test_what_a_model_was_equalised_by_survives_the_file(model: ir.Model, tmp_path: Path) -> None:
    taken(model, feeds(2), tmp_path / "s.npz")
    assert CacheFiles([str(tmp_path / "s.npz")], model).equalization == BASIS


def test_files_that_do_not_add_up_are_refused(model: ir.Model, tmp_path: Path) -> None:
    a, b = tmp_path / "a.npz", tmp_path / "b.npz"
    taken(model, feeds(3), a)
    with pytest.raises(UsageError, match="no such file"):
        CacheFiles([str(a), str(b)], model)
    taken(model, feeds(4), b)
    with pytest.raises(InvalidDataError, match="3 samples are in both"):
        CacheFiles([str(a), str(b)], model)
    taken(model, feeds(3, seed=1), b.unlink() or b)
    other = cache.load(str(b))
    cache.save(CalibrationCache(other.statistics, other.model_hash, other.sample_hashes, EqualizationStatistics({})), str(b))
    with pytest.raises(InvalidDataError, match="equalised by different data"):
        CacheFiles([str(a), str(b)], model)
    cache.save(CalibrationCache(other.statistics, "0123", other.sample_hashes, other.equalization), str(b))
    with pytest.raises(InvalidDataError, match=r"b.npz: of another model"):
        CacheFiles([str(a), str(b)], model)


def test_an_interrupted_run_goes_on_to_the_same_statistics(
    model: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "WRITE_INTERVAL", 0.0)
    samples, path = feeds(9), tmp_path / "s.npz"

    def interrupted(stage: str, done: int, total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    keeper = keeper_of(model, samples, path)
    with pytest.raises(KeyboardInterrupt):
        observe.collect_statistics(model, samples, NAMES, None, interrupted, cache_writer=keeper)
    keeper = keeper_of(model, samples, path)
    assert keeper.remaining.tolist() == [5, 6, 7, 8]
    observe.collect_statistics(model, samples[5:], NAMES, cache_writer=keeper)
    assert_same(cache.load(str(path)), taken(model, samples, tmp_path / "whole.npz"))


def test_another_model_and_other_data_are_refused(model: ir.Model, tmp_path: Path) -> None:
    path, samples = tmp_path / "s.npz", feeds(3)
    taken(model, samples, path)
    other = ir.from_onnx_text(TEXT.replace("3,0,0,1}", "3,0,0,9}"))
    with pytest.raises(InvalidDataError, match="of another model"):
        keeper_of(other, samples, path)
    with pytest.raises(InvalidDataError, match="of other data"):
        keeper_of(model, feeds(3, seed=1), path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", None])
def test_what_is_no_file_of_statistics_is_refused(model: ir.Model, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "s.npz"
    if content is None:
        np.savez(path, names=np.array(["x"]))
    else:
        path.write_bytes(content)
    with pytest.raises(InvalidDataError, match="no statistics of calibration"):
        CacheFiles([str(path)], model)


def test_a_second_run_reads_the_file_and_writes_the_same_model(tmp_path: Path) -> None:
    folder = SAMPLES
    model = model_file.load(folder / "digits_cnn.onnx")
    data = open_samples(folder / "digits_calib.npz", model, max_samples=12)
    options = QuantizeOptions(placement="static", calibration="minmax", statistics=str(tmp_path / "s.npz"))
    seen: list[str] = []
    first, _ = quantize(model, data, options)
    second, _ = quantize(model, data, options, progress=lambda stage, done, total: seen.append(stage))
    assert "statistics" not in seen
    assert model_file.to_bytes(first) == model_file.to_bytes(second)
