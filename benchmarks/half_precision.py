"""float16 beside the peers' converters: what loads, what stays finite, and how far the outputs are from float32's.

    python benchmarks/half_precision.py MODEL|FOLDER|MANIFEST ... [--exports] [--peers .peers/bin/python] [--json OUT.jsonl]

Ours is made as ``--target cuda`` makes it, with data and without, and as ``--weights float16`` does; the peers' are
onnxconverter-common's and onnxruntime's ``convert_float_to_float16``, inputs and outputs kept in float32. Each file is
loaded and run by the CPU provider at its default level, on samples that the conversion has not seen. That provider computes
in float32, so the figure is taken with every tensor rounded that is float16 in the file: the SQNR in dB of the worst float
output, ``not finite`` where the original is. Models and data are those of ``exact_speed.py``; ``--peers`` is the Python of
an environment with ``onnxconverter-common onnxruntime sympy``.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import simplify
from exact_speed import add_model_arguments, make_rows, parse_arguments
from exports import SIZES

from onnxslim.activations.output_error import compute_sqnr_db, energy, is_float, squared_error
from onnxslim.compat.float32 import widen
from onnxslim.core.errors import NothingGainedError, OnnxslimError, UnsupportedError
from onnxslim.data.sources import open_samples
from onnxslim.graph import shapes
from onnxslim.graph.traversal import walk
from onnxslim.model_io import model_file
from onnxslim.quantization.float16.simulation import simulate_float16
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.load_check import check_file_loads
from onnxslim.runtime.session import Session, SessionConfig, make_run_check
from onnxslim.simplification.step import simplify as simplify_model

#: What ours is asked for, and whether it sees data.
OURS = {
    "cuda, data": (QuantizeOptions(target="cuda"), True),
    "cuda": (QuantizeOptions(target="cuda"), False),
    "weights": (QuantizeOptions(weights="float16"), False),
}
#: What each peer runs, with SOURCE and TARGET on the command line.
_SAVE = "onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)"
PEERS = {
    "onnxconverter-common": ("import onnx\nfrom onnxconverter_common.float16 import convert_float_to_float16", _SAVE),
    "onnxruntime": ("import onnx\nfrom onnxruntime.transformers.float16 import convert_float_to_float16", _SAVE),
}
#: Samples that ranges are taken from, and as many that results are judged on.
_SAMPLES = 4
#: What counts as right.
MIN_DB = 40.0

Feeds = list[dict[str, np.ndarray]]


def draw_samples(model: ir.Model, data: Path | None, config: SessionConfig) -> tuple[Feeds, Feeds]:
    """Inputs of one sample each to convert with, and to judge by."""
    samples = None
    if data is not None:
        with contextlib.suppress(OnnxslimError):  # states are not in the data
            samples = open_samples(str(data), model, max_samples=2 * _SAMPLES)
    if samples is None:
        check = make_run_check(model, config)
        samples = open_samples("random", model, max_samples=2 * _SAMPLES, dims=SIZES[0], run_check=check)
    feeds = [dict(feed) for feed in itertools.islice(samples.batches(1), 2 * _SAMPLES)]
    return (feeds[:_SAMPLES], feeds[_SAMPLES:]) if len(feeds) > _SAMPLES else (feeds, feeds)


def round_halves(path: Path) -> ir.Model:
    """The file in float32, with every tensor rounded that is float16 in it."""
    model = ir.load(str(path))
    for graph in model.graphs():
        graph.sort()  # onnxruntime's converter puts casts of inputs last, which the runtime takes
    shapes.infer(model)
    wide = {node for node in walk(model.graph) if all(value.dtype != ir.DataType.FLOAT16 for value in node.outputs)}
    widen(model)
    simulate_float16(model, wide)
    return model


def judge(wanted: Sequence[Mapping[str, Any]], path: Path, feeds: Feeds, config: SessionConfig) -> float | str:
    """The SQNR of the worst float output in dB, or what is wrong with the file."""
    try:
        check_file_loads(path, config)  # in a process of its own: what dies of it is not this one
    except OnnxslimError as error:
        return f"does not load: {error.message}"
    try:
        runner = simplify.session(path, optimize=True)
        names = [output.name for output in runner.get_outputs()]
        found = [dict(zip(names, runner.run(None, feed), strict=True)) for feed in feeds]
    except Exception as error:  # the runtime's are any exception at all
        return f"does not run: {str(error)[:200]}"
    with contextlib.suppress(Exception):  # a file that only the runtime takes is judged as it runs here
        rounded = Session(round_halves(path), config)
        found = [rounded.run(feed) for feed in feeds]
    worst = float("inf")
    for name in wanted[0]:
        both = [(a[name], b[name]) for a, b in zip(wanted, found, strict=True)]
        pairs = [(a, b) for a, b in both if is_float(a) and is_float(b)]  # a map is a tensor in ours
        if any(np.isfinite(a).sum() > np.isfinite(b).sum() for a, b in pairs):
            return f"not finite: {name}"
        if any(a.shape != b.shape for a, b in pairs):
            return f"another shape: {name}"
        signal, noise = sum(energy(a) for a, _ in pairs), sum(squared_error(a, b) for a, b in pairs)
        worst = min(worst, compute_sqnr_db(signal, noise)) if pairs and signal else worst
    return worst


def compare(name: str, source: Path, data: Path | None, given: argparse.Namespace) -> dict[str, Any]:
    """One row: by converter the SQNR or what is wrong, the bytes as a share of the original's, what is kept float32 and
    where the report says that most is lost.
    """
    row: dict[str, Any] = {"name": name, "db": {}, "size": {}, "kept": {}, "lost_at": {}, "seconds": {}}
    folder, config = Path(given.models) / "float16", SessionConfig(threads=1)
    folder.mkdir(parents=True, exist_ok=True)
    stem = "".join(c if c.isalnum() else "_" for c in name)
    original = model_file.load(str(source.resolve()))
    fit, unseen = draw_samples(original, data, config)
    session = Session(original, config)
    wanted = [session.run(feed) for feed in unseen]
    simple = simplify_model(original)[0]
    for converter in (*OURS, *(PEERS if given.peers else ())):
        path = (folder / f"{stem}.{converter.replace(', ', '_')}.onnx").resolve()
        path.unlink(missing_ok=True)
        start = time.perf_counter()
        if converter in PEERS:
            made = simplify.run_program(given.peers, *PEERS[converter], source.resolve(), path, given.timeout)
            if "error" in made:
                row["db"][converter] = f"no file: {made['error']}"
                continue
        else:
            options, has_data = OURS[converter]
            try:
                result, report = quantize(simple, open_samples(fit, simple) if has_data else None, options, config=config)
                model_file.save(result, path)
                row["kept"][converter] = {entry.node: entry.reason for entry in report.skipped}
                row["lost_at"][converter] = [line for line in report.warnings if "most of it is lost at" in line]
            except (NothingGainedError, UnsupportedError) as error:
                row["db"][converter] = f"declined: {error.message}"
                continue
            except OnnxslimError as error:
                row["db"][converter] = f"no file: {error.message}"
                continue
        row["seconds"][converter] = time.perf_counter() - start
        row["size"][converter] = path.stat().st_size / source.stat().st_size
        row["db"][converter] = judge(wanted, path, unseen, config)
    return row


def is_right(found: float | str | None) -> bool:
    """Whether a file came out that loads and keeps its outputs."""
    return isinstance(found, float) and found >= MIN_DB


def describe(row: Mapping[str, Any]) -> str:
    """The row as a line of the table."""
    cells = [f"{row['name'][:44]:44s}"]
    for converter, found in row["db"].items():
        width = max(len(converter), 12)
        text = f"{found:.1f} dB" if isinstance(found, float) else str(found).split(":", maxsplit=1)[0]
        cells.append(f"{text:{width}s}")
    reasons = [
        f"{converter}: {str(found)[:150]}"
        for converter, found in row["db"].items()
        if converter in OURS and not is_right(found)
    ]
    return "  ".join(cells + reasons)


def summarize(rows: Sequence[Mapping[str, Any]], converter: str) -> str:
    """One converter's counts."""
    found = [row["db"].get(converter) for row in rows]
    runs = [value for value in found if isinstance(value, float)]
    declined = sum(isinstance(value, str) and value.startswith("declined") for value in found)
    infinite = sum(isinstance(value, str) and value.startswith("not finite") for value in found)
    right = sum(map(is_right, found))
    named = sum(not is_right(row["db"].get(converter)) and bool(row["lost_at"].get(converter)) for row in rows)
    return (
        f"{converter:24s} {len(runs) + infinite:4d} of {len(rows)} load and run, {right:4d} at {MIN_DB:g} dB or more, "
        f"{named} of the others with the node named, {infinite} not finite, {declined} declined with the reason"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Print one line a model, and the counts of each converter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    given = parse_arguments(parser, argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = list(make_rows(given, compare, describe))
    for converter in (*OURS, *(PEERS if given.peers else ())):
        print(summarize(rows, converter))
    wrong = [
        row["name"] for row in rows if not all(is_right(row["db"].get(name)) or row["lost_at"].get(name) for name in OURS)
    ]
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
