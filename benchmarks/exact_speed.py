"""How fast what simplification writes is, beside the original and beside the peers' files, at one thread.

    python benchmarks/exact_speed.py MODEL|FOLDER|MANIFEST ... [--exports] [--peers .peers/bin/python] [--json OUT.jsonl]

Each model is simplified by every tool (see ``simplify.py``), and all files that load are timed in turn in one process, 50
rounds in rotating order. A number is how many times faster than the original a file is, the median of the rounds' ratios,
with ours its 95 % interval; what is below ``--floor`` is marked, and the command ends with 1. Inputs are a few samples of
the manifest's data (``reach.py`` has its format) or of NAME.fit.npz beside the model, or random ones with sizes that the
model runs with. ``--exports`` adds what PyTorch's exporters write for the networks of ``networks.py`` (``exports.py``).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import simplify
from exports import SIZES, exports

from onnxslim.core.errors import OnnxslimError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session, SessionConfig, make_run_check
from onnxslim.runtime.timing import interleave
from onnxslim.validation.latency import MIN_SPEED_RATIO, summarize

#: Of the tools of ``simplify.py``, those that write a file to be served.
TOOLS = ("ours", "onnxslim 0.1.98", "onnxsim 0.8.1")
#: Samples that the rounds go through in turn.
_SAMPLES = 4


def find_models(given: argparse.Namespace) -> Iterator[tuple[str, Path, Path | None]]:
    """(name, file, data) of everything that was named; no data means random inputs."""
    for source in map(Path, given.sources):
        if source.suffix == ".json":
            for entry in json.loads(source.read_text()):
                model = source.parent / entry["model"]  # an absolute path stays what it is
                data = source.parent / entry["fit"] if entry.get("fit") else None
                yield entry["name"], model, data
            continue
        for model in sorted(source.glob("*.onnx")) if source.is_dir() else [source]:
            data = model.with_suffix(".fit.npz")
            yield model.stem, model, data if data.exists() else None
    if given.exports:
        folder = Path(given.models) / "exports"
        folder.mkdir(parents=True, exist_ok=True)
        for name, exporter, path in exports(given, folder):
            yield f"{name}, {exporter}", path, None


def draw_feeds(model: ir.Model, data: Path | None, config: SessionConfig) -> list[dict[str, np.ndarray]]:
    """A few inputs of one sample each."""
    samples = None
    if data is not None:
        with contextlib.suppress(OnnxslimError):  # states are not in the data
            samples = open_samples(str(data), model, max_samples=_SAMPLES)
    if samples is None:
        check = make_run_check(model, config)
        samples = open_samples("random", model, max_samples=_SAMPLES, dims=SIZES[0], run_check=check)
    return [dict(feed) for feed in itertools.islice(samples.batches(1), _SAMPLES)]


def compare(name: str, source: Path, data: Path | None, given: argparse.Namespace) -> dict[str, Any]:
    """One row: nodes and speed by tool; what failed says why."""
    row: dict[str, Any] = {"name": name, "nodes": {}, "speed": {}, "failed": {}}
    folder, config = Path(given.models) / "exact_speed", SessionConfig(threads=1)
    folder.mkdir(parents=True, exist_ok=True)
    stem = "".join(c if c.isalnum() else "_" for c in name)
    original = model_file.load(str(source.resolve()))
    files = {"original": source.resolve()}
    for tool in TOOLS[: None if given.peers else 1]:
        target = (folder / f"{stem}.{tool.split()[0] if tool == 'ours' else tool.replace(' ', '_')}.onnx").resolve()
        python = sys.executable if tool == "ours" else given.peers
        made = simplify.run_tool(python, tool, source.resolve(), target, None, given.timeout)
        if "error" in made:
            row["failed"][tool] = made["error"]
        else:
            files[tool] = target
    sessions = {}
    for tool, path in files.items():
        try:
            model = model_file.load(str(path))
            row["nodes"][tool] = sum(1 for _ in model.graph.all_nodes())
            sessions[tool] = Session(model, config)
        except OnnxslimError as error:
            row["failed"][tool] = error.message
    if "original" not in sessions:
        return row
    feeds = draw_feeds(original, data, config)
    for tool, session in list(sessions.items()):
        try:
            session.run(feeds[0])
        except OnnxslimError as error:
            row["failed"][tool] = error.message
            del sessions[tool]
    timing = interleave(sessions, feeds, rounds=given.rounds, seconds=given.seconds * len(sessions))
    row["original_ms"] = 1e3 * timing.median("original")
    for tool in [tool for tool in sessions if tool != "original"]:
        rounds = {"original": timing.rounds["original"], "result": timing.rounds[tool]}
        found = summarize(rounds, provider=timing.provider, threads=1, batch=1)
        row["speed"][tool] = {"ratio": found["ratio"], "interval": found["interval"]}
    return row


def describe(row: dict[str, Any], floor: float) -> str:
    """The row as a line of the table."""
    cells = [f"{row['name'][:40]:40s}", f"{row.get('original_ms', float('nan')):9.3f}"]
    for tool in TOOLS:
        nodes, speed = row["nodes"].get(tool), row["speed"].get(tool)
        interval = f" ({speed['interval'][0]:.2f}-{speed['interval'][1]:.2f})" if speed and tool == "ours" else ""
        cell = f"{nodes} of {row['nodes'].get('original')}: {speed['ratio']:.3f}{interval}" if speed else "-"
        cells.append(f"{cell:30s}" if tool == "ours" else f"{cell:20s}")
    if is_slower(row, floor):
        cells.append("SLOWER")
    cells += [f"{tool}: {reason[:60]}" for tool, reason in row["failed"].items()]
    return "  ".join(cells)


def is_slower(row: dict[str, Any], floor: float) -> bool:
    """Whether ours is below the floor, or did not come out."""
    ours = row["speed"].get("ours")
    return "ours" in row["failed"] or (ours is not None and ours["ratio"] < floor)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """What says which models are compared, with which peers, and where rows are kept."""
    parser.add_argument("sources", nargs="*", help="models, folders of models, manifests (.json)")
    parser.add_argument("--exports", action="store_true", help="the exports of exports.py too (needs torch)")
    parser.add_argument("--networks", nargs="*", default=[], help="parts of names of those networks; all by default")
    parser.add_argument("--torchvision", help="a folder with torchvision installed by --no-deps --target")
    parser.add_argument("--peers", help="the Python of an environment with the peers (see simplify.py)")
    parser.add_argument("--models", default="benchmarks/.models", help="where exports and results are kept")
    parser.add_argument("--timeout", type=float, default=120, help="seconds, for each peer")
    parser.add_argument("--only", nargs="*", default=[], help="parts of names of models; all by default")
    parser.add_argument("--json", help="append each row to this file")


def parse_arguments(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """``argv`` read; it has to name models."""
    given = parser.parse_args(argv)
    if not given.sources and not given.exports:
        parser.error("name models, or --exports")
    return given


def make_rows(
    given: argparse.Namespace,
    compare: Callable[[str, Path, Path | None, argparse.Namespace], dict[str, Any]],
    describe: Callable[[dict[str, Any]], str],
) -> Iterator[dict[str, Any]]:
    """The row that ``compare`` makes of each model that was named, printed and kept as it comes."""
    for name, source, data in find_models(given):
        if given.only and not any(part in name for part in given.only):
            continue
        try:
            row = compare(name, source, data, given)
        except OnnxslimError as error:
            print(f"{name}: left out, {error.message}", flush=True)
            continue
        print(describe(row), flush=True)
        if given.json:
            with open(given.json, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        yield row


def main(argv: Sequence[str] | None = None) -> None:
    """Print one line a model, and how many are slower."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5.0, help="at most, for each file of a model")
    parser.add_argument("--floor", type=float, default=MIN_SPEED_RATIO)
    given = parse_arguments(parser, argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(f"{'model':40s}  {'ms':>9s}  {'ours: nodes, speed':30s}  {'OnnxSlim':20s}  {'onnxsim':20s}")
    rows = list(make_rows(given, compare, lambda row: describe(row, given.floor)))
    slower = [row["name"] for row in rows if is_slower(row, given.floor)]
    print(f"{len(rows) - len(slower)} of {len(rows)} at {given.floor:g} times the original's speed or more")
    sys.exit(1 if slower else 0)


if __name__ == "__main__":
    main()
