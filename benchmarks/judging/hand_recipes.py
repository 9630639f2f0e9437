"""What a user gets by hand from onnxruntime's own quantiser: one recipe, from file to file.

    python -m judging.hand_recipes RECIPE MODEL DATA OUT [--state OUT=IN|auto ...]

``dynamic`` is ``quantize_dynamic`` as it stands; ``static`` is ``quantize_static`` as its documentation advises it:
pre-processed, QDQ, per channel, uint8 activations, int8 weights, min-max ranges; ``static-linear`` is that for Conv, Gemm
and MatMul alone, which is what exporters of detectors do.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import version_converter
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from judging.manifest_data import Feed, ManifestData, parse_states, walk
from judging.verification import open_session

RECIPES = ("dynamic", "static", "static-linear")
#: Feeds that calibrate, spread over the samples and, in sequences, over the steps.
CALIBRATION = 48
#: From here on a DequantizeLinear may have a scale a channel.
_PER_CHANNEL_OPSET = 13


class Feeds(CalibrationDataReader):  # type: ignore[misc]
    """The samples of a manifest, with the states that the float model itself would hand on."""

    def __init__(self, model: Path, data: Path, states: Sequence[str]) -> None:
        session = open_session(model)
        samples = ManifestData(data, session.get_inputs(), parse_states(states, session, data))
        used = range(min(len(samples), CALIBRATION))
        every = [feed for index in used for feed in self._read(session, samples, index)]
        self.feeds = every[:: max(1, len(every) // CALIBRATION)]
        self.rewind()

    @staticmethod
    def _read(session: Any, samples: ManifestData, index: int) -> Iterator[Feed]:
        if not samples.states:
            return samples.feeds(index)
        return (feed for feed, _ in walk(session, samples, index))

    def rewind(self) -> None:
        """Begin again."""
        self._rest = iter(self.feeds)

    def get_next(self) -> Feed | None:
        """The next feed, or None after the last."""
        return next(self._rest, None)


def prepare(model: Path, folder: Path) -> Path:
    """``model`` as the quantiser wants it: shapes inferred, optimised, opset 13 at least, where that works."""
    prepared = folder / "prepared.onnx"
    for skips_symbolic in (False, True):
        try:
            quant_pre_process(str(model), str(prepared), skip_symbolic_shape=skips_symbolic)
            break
        except Exception:  # a peer's step; a user would go on without it
            prepared.unlink(missing_ok=True)
    if not prepared.exists():
        prepared = model
    proto = onnx.load(prepared)
    opset = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < _PER_CHANNEL_OPSET:
        try:
            onnx.save(version_converter.convert_version(proto, _PER_CHANNEL_OPSET), folder / "opset13.onnx")
            return folder / "opset13.onnx"
        except Exception:  # the same
            return prepared
    return prepared


def quantize_by_hand(recipe: str, model: Path, data: Path, out: Path, states: Sequence[str]) -> None:
    """Write ``out``; raises whatever the quantiser raises."""
    model, data, out, before = model.resolve(), data.resolve(), out.resolve(), Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # pre-processing leaves its files where it was called
        try:
            prepared = prepare(model, Path(folder))
            if recipe == "dynamic":
                quantize_dynamic(str(prepared), str(out))
                return
            quantize_static(
                str(prepared),
                str(out),
                Feeds(prepared, data, states),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["Conv", "Gemm", "MatMul"] if recipe == "static-linear" else None,
            )
        finally:
            os.chdir(before)


def main() -> None:
    """Make one file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", choices=RECIPES)
    for name in ("model", "data", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--state", action="append", default=[], metavar="OUT=IN|auto")
    given = parser.parse_args()
    quantize_by_hand(given.recipe, given.model, given.data, given.out, given.state)


if __name__ == "__main__":
    main()
