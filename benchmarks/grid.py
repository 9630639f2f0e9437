"""int8 at one thread and two, one sample at a time and eight: hand-tuned onnxruntime beside ours, for the documentation.

    python benchmarks/grid.py                                            # the zoo's mobilenet_v2 and cifar10_resnet56
    python benchmarks/grid.py --encoder encoder.onnx fit.npz held.npz    # and a text encoder, whose last output is judged

"Hand-tuned" is that of ``quantize.py``; of the encoder ``quantize_dynamic``, which is what one takes for those. Ours is
made for every setting anew (``--threads``, ``--batch-size``), since which layers pay depends on it, and the file for
one thread and one sample runs beside it: what following the setting wins is the difference. All files of a model are
timed in turn, by the wall's clock, so that nothing else should run. Prints the rows of a Markdown table; models and
images are the zoo's ($ONNXSLIM_ZOO).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from inputs import ZOO, load_zoo
from quantize import CALIBRATION, make

from onnxslim.data.sources import open_samples
from onnxslim.data.split import draw_timed_runs
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import SessionConfig, open_timed_session, version
from onnxslim.runtime.timing import interleave
from onnxslim.simplification.step import simplify
from onnxslim.validation.evaluation import evaluate
from onnxslim.validation.statistics import ratio_interval

LABELLED = ("mobilenet_v2", "cifar10_resnet56")
THREADS, BATCHES = (1, 2), (1, 8)
#: Samples that what is kept is judged on, and the runs that are timed, in so many seconds.
_JUDGED, _RUNS, _SECONDS = 600, 8, 4.0
_FIRST = (THREADS[0], BATCHES[0])


@dataclass(frozen=True)
class Subject:
    """A model with its data, in files: to fit on, and to time and judge on."""

    name: str
    model: Path
    fit: Path
    held: Path
    hand_recipe: str
    output: str | None = None


def list_subjects(folder: Path, encoder: list[Path] | None) -> Iterator[Subject]:
    """The zoo's models with images of theirs, written to ``folder``, and the encoder."""
    zoo = load_zoo()
    for name in LABELLED:
        calibration, evaluation, prepare = zoo.LABELLED[name]
        paths = folder / f"{name}.fit.npz", folder / f"{name}.held.npz"
        for path, source, count in zip(paths, (calibration, evaluation), (CALIBRATION, _JUDGED), strict=True):
            if not path.exists():
                np.savez(path, input=prepare(zoo.images(source, 0, count)[0]))
        yield Subject(name, ZOO / f"{name}.onnx", *paths, "hand-tuned")
    if encoder is not None:
        last = model_file.load(encoder[0]).graph.outputs[-1].name
        yield Subject(encoder[0].stem, *encoder, "dynamic", last)


def make_by_hand(subject: Subject, out: Path) -> None:
    """onnxruntime's own quantiser, in a process of its own: its calibration takes gigabytes."""
    if subject.hand_recipe == "hand-tuned":
        make("hand-tuned", subject.model, subject.fit, out, argparse.Namespace(placement="measured"))
    elif not out.exists():
        command = [sys.executable, "-m", "judging.hand_recipes", subject.hand_recipe, subject.model, subject.fit, out]
        subprocess.run(list(map(str, command)), check=True, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL)


def make_ours(subject: Subject, threads: int, batch: int, out: Path) -> None:
    """Simplified and quantised for that setting; nothing else is chosen."""
    if not out.exists():
        simple, _ = simplify(subject.model)
        config = SessionConfig(threads=threads, batch_size=batch)
        samples = open_samples(str(subject.fit), simple, max_samples=CALIBRATION)
        result, _ = quantize(simple, samples, QuantizeOptions(), config=config)
        model_file.save(result, out)


def judge(subject: Subject, path: Path) -> str:
    """What the file keeps of the original's answers, by the metric of its kind."""
    original = model_file.load(subject.model)
    held = open_samples(str(subject.held), original)
    output = None if subject.output is None else (subject.output,)
    metric = evaluate(model_file.load(path), held, reference=original, output=output).metric
    return f"{metric.name} {metric.format_value(metric.result)}"


def measure(subject: Subject, folder: Path) -> Iterator[str]:
    """Rows: threads, batch, milliseconds in float, and how many times faster each file is, with the 95 % interval."""
    hand = folder / f"{subject.name}.hand.onnx"
    make_by_hand(subject, hand)
    made = {}
    for threads, batch in product(THREADS, BATCHES):
        made[threads, batch] = folder / f"{subject.name}.{threads}x{batch}.onnx"
        make_ours(subject, threads, batch, made[threads, batch])
    kept = {path: judge(subject, path) for path in (hand, *made.values())}
    samples = open_samples(str(subject.held), model_file.load(subject.model))
    for threads, batch in product(THREADS, BATCHES):
        config = SessionConfig(threads=threads)
        paths = {"float": subject.model, "hand": hand, "first": made[_FIRST], "ours": made[threads, batch]}
        sessions = {name: open_timed_session(model_file.load(path), config) for name, path in paths.items()}
        runs = draw_timed_runs(samples, _RUNS, batch)
        timing = interleave(sessions, runs, rounds=200, seconds=_SECONDS, wall=True)
        cells = [subject.name, str(threads), str(batch), f"{1e3 * timing.median('float'):.3g} ms"]
        for name, path in list(paths.items())[1:]:
            low, high = ratio_interval(timing.rounds["float"], timing.rounds[name])
            cells.append(f"{timing.ratio('float', name):.2f}x ({low:.2f} to {high:.2f}), {kept[path]}")
        yield "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", nargs=3, type=Path, metavar=("MODEL", "FIT", "HELD"), help="a text encoder")
    parser.add_argument("--folder", type=Path, help="keep the files here, and use those that are there already")
    given = parser.parse_args()
    encoder = None if given.encoder is None else [path.resolve() for path in given.encoder]
    print(f"onnxruntime {version()}\n")
    print("| model | threads | batch | float | by hand | ours, for 1 thread and batch 1 | ours, for the setting |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for subject in list_subjects(folder, encoder):
            for row in measure(subject, folder):
                print(row, flush=True)


if __name__ == "__main__":
    main()
