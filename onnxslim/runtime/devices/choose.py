"""Times the models of a folder on this machine and names the fastest that keeps what its receipt promises.

    python choose.py DIR

This file stands alone: Python 3.10, onnxruntime and numpy are all it needs, so that it can be copied beside the models to
where they are served. A receipt is what ``onnxslim verify MODEL --against ORIGINAL --data D -o MODEL.json`` wrote; it is
found among the ``.json`` files of the folder by the hash of the model that it is about. What the receipts call the original
needs none.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort

#: Of the receipts that are read here.
RECEIPT_SCHEMA = 1
#: Files within this ratio of the fastest one's time are as fast, and the smallest of them is named.
TIE_RATIO = 1.02
#: A clock that ticks no faster is of no use for rounds of some milliseconds (Windows counts 15 ms at a time).
MAX_CLOCK_RESOLUTION = 1e-6
#: More threads than any machine has.
MAX_THREADS = 1024
#: Seconds of one turn, so that the clock resolves short inferences.
_TURN_SECONDS = 0.02

Feed = Mapping[str, np.ndarray]


class ChoiceError(Exception):
    """Nothing can be chosen: one line, what to do, and the exit code (2 a wrong call, 4 not possible here)."""

    def __init__(self, message: str, hint: str | None = None, exit_code: int = 4) -> None:
        super().__init__(message)
        self.hint, self.exit_code = hint, exit_code


@dataclass
class ModelChoice:
    """One model of the folder.

    Attributes:
        name: Of its file.
        bytes: Of it and its data files, as far as a receipt names those.
        promise: What its receipt says, in words.
        why_not: Why it is not eligible, or None.
        median_ms: Of one inference here; None where it was not timed.
        ratio: How many times faster than the original, or where that is not here than the first one timed.
        min_speedup: What its receipt promises of that.
        cautions: What is otherwise here than when the receipt was made.
    """

    name: str
    bytes: int
    promise: str
    why_not: str | None = None
    median_ms: float | None = None
    ratio: float | None = None
    min_speedup: float | None = None
    cautions: list[str] = field(default_factory=list)


def pick_clock(*, own_thread: bool) -> Callable[[], float]:
    """The processor's time of the thread that calls, where that does all the work and it ticks finely, else the wall's."""
    fine = own_thread and time.get_clock_info("thread_time").resolution <= MAX_CLOCK_RESOLUTION
    return time.thread_time if fine else time.perf_counter


def time_in_turn(
    runs: Mapping[str, Callable[[Feed], object]],
    feeds: Sequence[Feed],
    clock: Callable[[], float],
    *,
    rounds: int,
    seconds: float,
    warmup: int = 3,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, list[float]]:
    """Seconds of one inference by name, a value a round: A B C A B C …, each on the same input within a round.

    The order rotates from round to round, so that nobody always runs on the caches that the same neighbor left.

    Args:
        runs: What to time: each runs one inference.
        feeds: At least one input; round i uses feed i modulo their number.
        clock: What is read.
        rounds: At most so many, and at least 5.
        seconds: Stop when this much time has passed.
        warmup: Untimed inferences of each first.
        progress: Called after each round.
    """
    repeats: dict[str, int] = {}
    for name, run in runs.items():
        for index in range(max(1, warmup)):
            started = clock()
            run(feeds[index % len(feeds)])
            duration = clock() - started
        repeats[name] = max(1, min(50, round(_TURN_SECONDS / max(duration, 1e-6))))
    times: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    deadline = time.perf_counter() + seconds
    gc_was_on = gc.isenabled()
    gc.disable()
    try:
        for index in range(rounds):
            if index >= 5 and time.perf_counter() > deadline:
                break
            shift = index % len(names)
            for name in names[shift:] + names[:shift]:
                run, feed = runs[name], feeds[index % len(feeds)]
                started = clock()
                for _ in range(repeats[name]):
                    run(feed)
                times[name].append((clock() - started) / repeats[name])
            progress(index + 1, rounds)
    finally:
        if gc_was_on:
            gc.enable()
    return times


def choose(
    folder: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    dims: Mapping[str, int] | None = None,
    threads: int = 1,
    batch_size: int = 1,
    seconds: float = 10.0,
) -> dict[str, Any]:
    """Time the models of ``folder`` in turn, and name one.

    Args:
        folder: Of ``.onnx`` files and the receipts of them.
        data: An ``.npz`` of inputs by name, whose first samples are run; by default made-up values.
        dims: Sizes of free dimensions by name, for those; 1 where none is said.
        threads: Of one inference.
        batch_size: Samples in one inference, where the models leave that free.
        seconds: How long to time.

    Returns:
        ``chosen``, the name of a file; ``models``, every :class:`ModelChoice` as a dict; and ``runtime``, ``threads``,
        ``batch``.

    Raises:
        ChoiceError: There are no models, none has a receipt that passed, or the runtime here takes none.
    """
    if not os.fspath(folder):  # which pathlib would take for the current one
        raise ChoiceError("an empty name, expected that of a folder", exit_code=2)
    found = list(_list_models(Path(folder), threads, batch_size))
    models = [choice for choice, _ in found]
    feed = try_models(models, Path(folder), threads, lambda inputs: _read_feed(inputs, data, dims or {}, batch_size))
    runs = dict(_start(models, Path(folder), threads))
    if feed is None or not runs:
        reasons = "; ".join(f"{choice.name}: {choice.why_not}" for choice in models)
        raise ChoiceError(reasons, _RECEIPT_HINT if any(choice.promise == "nothing" for choice in models) else None)
    original = next((choice.name for choice, is_original in found if is_original and choice.name in runs), None)
    figures = _time_beside(original or next(iter(runs)), runs, feed, threads, seconds)
    for choice in models:
        if choice.name in figures:
            choice.median_ms, choice.ratio = figures[choice.name]
            if original and choice.min_speedup and choice.ratio < choice.min_speedup and choice.name != original:
                choice.why_not = f"{choice.ratio:.2f} times as fast as the original here, {choice.min_speedup:g} is promised"
            if not original and choice.min_speedup:
                choice.cautions.append(f"{choice.min_speedup:g} times the original's speed is promised, which is not here")
    chosen = _pick([choice for choice in models if choice.why_not is None])
    return {
        "chosen": chosen.name,
        "models": [asdict(choice) for choice in models],
        "runtime": ort.__version__,
        "threads": threads,
        "batch": batch_size,
    }


def _pick(choices: Sequence[ModelChoice]) -> ModelChoice:
    if not choices:
        raise ChoiceError("no model is as fast here as its receipt promises")
    fastest = max(choice.ratio or 0.0 for choice in choices)
    return min((c for c in choices if TIE_RATIO * (c.ratio or 0.0) >= fastest), key=lambda c: (c.bytes, c.name))


#: Which of a model's receipts counts; a verdict that nobody knows as a failure.
_VERDICT_ORDER = {"fail": 0, "pass": 1, "cannot tell": 2}
_RECEIPT_HINT = "onnxslim verify MODEL --against ORIGINAL --data D -o MODEL.json, where the data are, writes a receipt"


def _list_models(folder: Path, threads: int, batch_size: int) -> Iterator[tuple[ModelChoice, bool]]:
    """Every model of ``folder`` and whether a receipt calls it the original; the numbers are what it is timed with."""
    if not folder.is_dir():
        raise ChoiceError(f"{folder}: no such folder", exit_code=2)
    paths = sorted(path for path in folder.glob("*.onnx") if path.is_file())
    if not paths:
        raise ChoiceError(f"{folder}: no models in it, expected .onnx files")
    receipts = list(_read_receipts(folder))
    originals = {next(iter(receipt["original"]["files"].values())) for _, receipt in receipts}
    for path in paths:
        digest = _hash(path)
        known = [(name, r) for name, r in receipts if next(iter(r["candidate"]["files"].values())) == digest]
        # of several receipts of one model none may fail; one that could not tell says nothing against one that could
        name, receipt = min(known, key=lambda one: _VERDICT_ORDER.get(one[1]["verdict"], 0), default=(None, None))
        if receipt is not None:
            yield _judge(path, str(name), receipt, threads, batch_size), digest in originals
        elif digest in originals:
            yield ModelChoice(path.name, path.stat().st_size, "the original"), True
        else:
            beside = (path.with_suffix(".json").name, path.name + ".json")
            changed = any(name in beside for name, _ in receipts)
            why = "it is another file than its receipt is about" if changed else "it has no receipt"
            yield ModelChoice(path.name, path.stat().st_size, "nothing", why), False


def _read_receipts(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The receipts among the JSON files of ``folder``, by the names of those; other files are passed over."""
    for path in sorted(folder.glob("*.json")):
        if not path.is_file():  # a pipe would be waited for
            continue
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        receipt = document.get("receipt") if isinstance(document, dict) else None
        if not isinstance(receipt, dict) or receipt.get("models"):  # of a folder: it is of no model alone
            continue
        if receipt.get("schema") != RECEIPT_SCHEMA:
            raise ChoiceError(f"{path.name}: a receipt of schema {receipt.get('schema')!r}, expected {RECEIPT_SCHEMA}")
        if not _is_whole(receipt):
            raise ChoiceError(f"{path.name}: a receipt without its verdict or the hashes of its models, or a damaged one")
        yield path.name, receipt


def _is_whole(receipt: Mapping[str, Any]) -> bool:
    """Whether what is read of ``receipt`` is of its type, and names no files outside the folder."""
    tables = [receipt.get(name) or {} for name in ("candidate", "original", "settings", "machine")]
    if not isinstance(receipt.get("verdict"), str) or not all(isinstance(table, dict) for table in tables):
        return False
    speedup = tables[2].get("min_speedup")
    if speedup is not None and not (isinstance(speedup, (int, float)) and 0 < speedup < math.inf):
        return False
    for files in (table.get("files") for table in tables[:2]):
        if not isinstance(files, dict) or not files or not all(isinstance(digest, str) for digest in files.values()):
            return False
        if any(Path(name).is_absolute() or ".." in Path(name).parts for name in list(files)[1:]):
            return False
    return True


def _judge(path: Path, name: str, receipt: Mapping[str, Any], threads: int, batch_size: int) -> ModelChoice:
    """The model at ``path``, timed with so many threads and samples, by its ``receipt``, of the file ``name``."""
    settings, machine = receipt.get("settings") or {}, receipt.get("machine") or {}
    data_files = {path.parent / file: digest for file, digest in list(receipt["candidate"]["files"].items())[1:]}
    sizes = sum(file.stat().st_size for file in data_files if os.path.isfile(file))
    promise = f"drops at most {settings.get('max_drop', '?')} ({name})"
    choice = ModelChoice(path.name, path.stat().st_size + sizes, promise, min_speedup=settings.get("min_speedup"))
    wrong = next(
        (file.name for file, digest in data_files.items() if not os.path.isfile(file) or _hash(file) != digest), None
    )
    if receipt["verdict"] != "pass":
        choice.why_not = f"{name} says {receipt['verdict']}"
    elif wrong is not None:
        choice.why_not = f"its data {wrong} are not those of {name}"
    pairs = {
        "onnxruntime": (receipt.get("runtime"), ort.__version__),
        "the processor": (machine.get("cpu"), _read_cpu()),
        "the number of threads": (settings.get("threads") or 1, threads),
        "the batch": (settings.get("batch_size") or 1, batch_size),
    }
    choice.cautions = [
        f"{what} was {then} when the receipt was made, and is {now}"
        for what, (then, now) in pairs.items()
        if then and now and then != now
    ]
    return choice


#: What a child does: of each model it says the inputs, runs it once on the file that it is told, and says how that went.
_CHILD = """
import sys
sys.path[:] = sys.argv[2].split("\\n")
import json
import numpy as np
import onnxruntime as ort
paths, threads = json.loads(sys.argv[1])
options = ort.SessionOptions()
options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 4
def say(**answer):
    print(json.dumps(answer), flush=True)
for path in paths:
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        say(error=str(error) or type(error).__name__)
        continue
    say(inputs=[[one.name, one.type, one.shape] for one in session.get_inputs()])
    try:
        file, names = json.loads(sys.stdin.readline())
        with np.load(file) as arrays:
            session.run(None, {name: arrays["arr_" + str(at)] for at, name in enumerate(names)})
        say()
    except Exception as error:
        say(error=str(error) or type(error).__name__)
    del session
"""


def try_models(
    models: Sequence[ModelChoice], folder: Path, threads: int, make_feed: Callable[[Sequence[Any]], Feed]
) -> Feed | None:
    """Load those of ``models`` that may be chosen, and run each once, in a child: the runtime can end its process at either.

    Args:
        models: What does not load or run gets the reason written down.
        folder: That they are in.
        threads: Of one inference.
        make_feed: What all are run on, by the inputs of the first that loads.

    Returns:
        That; None where none loads.

    Raises:
        ChoiceError: ``make_feed`` did.
    """
    waiting, feed = [choice for choice in models if choice.why_not is None], None
    with tempfile.TemporaryDirectory() as scratch:
        while waiting:  # a child goes on until a model ends it
            request = json.dumps([[str(folder / choice.name) for choice in waiting], threads])
            module_folders = "\n".join(entry for entry in sys.path if entry)  # before it imports from the one it stands in
            with subprocess.Popen(
                [sys.executable, "-c", _CHILD, request, module_folders], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, encoding="utf-8",
            ) as child:  # fmt: skip
                try:
                    feed = _follow(child, waiting, Path(scratch, "feed.npz"), feed, make_feed)
                except BaseException:
                    child.kill()
                    raise
    return feed


def _follow(
    child: subprocess.Popen[str],
    waiting: list[ModelChoice],
    file: Path,
    feed: Feed | None,
    make_feed: Callable[[Sequence[Any]], Feed],
) -> Feed | None:
    """Write down what ``child`` says of the models ``waiting``, which are taken from that list, until it ends."""
    runtime = f"onnxruntime {ort.__version__}"
    while waiting:
        choice, answer = waiting.pop(0), _read_answer(child)
        is_loaded = answer is not None and "inputs" in answer
        if is_loaded and answer is not None:
            if feed is None:
                feed = make_feed([SimpleNamespace(name=n, type=kind, shape=shape) for n, kind, shape in answer["inputs"]])
                np.savez(file, *feed.values())  # by place: an input may be called as savez calls its own arguments
            answer = _read_answer(child, json.dumps([str(file), list(feed)]))
        if answer is None:
            choice.why_not = f"{runtime} dies {'of running' if is_loaded else 'of loading'} it: {_describe_end(child)}"
            return feed
        if "error" in answer:
            what = "it does not run with the same inputs" if is_loaded else f"{runtime} does not take it"
            choice.why_not = f"{what}: {_first_line(answer['error'])}"
    return feed


def _read_answer(child: subprocess.Popen[str], told: str | None = None) -> dict[str, Any] | None:
    """What ``child`` says next, once it was ``told`` what to run; None where it has ended."""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        if told is not None:
            child.stdin.write(f"{told}\n")
            child.stdin.flush()
    except OSError:  # a broken pipe, which what was not written would break again at the end
        with suppress(OSError):
            child.stdin.close()
        return None
    line = next((line for line in child.stdout if line.startswith("{")), None)  # what libraries print is passed over
    return None if line is None else dict(json.loads(line))


def _describe_end(child: subprocess.Popen[str]) -> str:
    code = child.wait()
    names = {int(one): one.name for one in signal.Signals}
    return f"signal {-code} ({names.get(-code, 'unknown')})" if code < 0 else f"exit code {code}"


def _start(models: Sequence[ModelChoice], folder: Path, threads: int) -> Iterator[tuple[str, Callable[[Feed], object]]]:
    """What is timed: the models that a child could run."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 4
    if threads != 1:  # or threads of the model before would spin on while the next is timed
        options.add_session_config_entry("session.force_spinning_stop", "1")
    for choice in models:
        if choice.why_not is None:
            try:
                session = ort.InferenceSession(str(folder / choice.name), options, providers=["CPUExecutionProvider"])
            except Exception as error:  # memory, where one fits and all together do not
                choice.why_not = f"onnxruntime {ort.__version__} does not take it: {_first_line(error)}"
                continue
            yield choice.name, partial(session.run, None)


def _time_beside(
    base: str, runs: Mapping[str, Callable[[Feed], object]], feed: Feed, threads: int, seconds: float
) -> dict[str, tuple[float, float]]:
    """Milliseconds of each, and how many times faster than ``base`` it is: in turn with that alone, because two that lie far
    apart in a round of many meet another clock.
    """
    clock, others = pick_clock(own_thread=threads == 1), [name for name in runs if name != base]
    found: dict[str, tuple[float, float]] = {}
    of_base: list[float] = []
    for name in others or [base]:
        pair = {base: runs[base], name: runs[name]}
        times = time_in_turn(pair, [feed], clock, rounds=50, seconds=seconds / max(len(others), 1))
        of_base += times[base]
        ratios = [b / t for b, t in zip(times[base], times[name], strict=True)]
        found[name] = 1e3 * statistics.median(times[name]), statistics.median(ratios)
    return found | {base: (1e3 * statistics.median(of_base), 1.0)}


def _read_feed(
    inputs: Sequence[Any], data: str | os.PathLike[str] | None, dims: Mapping[str, int], batch_size: int = 1
) -> dict[str, np.ndarray]:
    """The first samples of ``data``, or made-up values for ``inputs``, each with its name, type and shape."""
    if data is None:
        rng = np.random.default_rng(0)
        try:
            return {
                one.name: _make_up(
                    rng, one.type, [_resolve(size, dims, 1 if axis else batch_size) for axis, size in enumerate(one.shape)]
                )
                for one in inputs
            }
        except (MemoryError, ValueError) as error:
            raise ChoiceError(f"no inputs of such sizes can be made up ({_first_line(error)})", exit_code=2) from None
    try:
        with np.load(data, allow_pickle=False) as arrays:
            return {one.name: _take_first(arrays[one.name], one.shape, batch_size) for one in inputs}
    except KeyError as error:
        raise ChoiceError(f"{data}: no input of that name in it ({error})", exit_code=2) from None
    except (OSError, EOFError, ValueError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ChoiceError(f"{data}: not an .npz of inputs ({_first_line(error)})", exit_code=2) from None


def _take_first(rows: np.ndarray, shape: Sequence[int | str | None], batch_size: int) -> np.ndarray:
    """What one inference takes of ``rows``: so many, again from the first where there are fewer, or as many as the model's
    ``shape`` fixes; of a number itself.
    """
    if rows.ndim == 0:
        return rows
    if not shape:
        return np.asarray(rows[0])
    if isinstance(shape[0], int):
        return rows[: shape[0]]
    return np.resize(rows, (batch_size, *rows.shape[1:])) if 0 < len(rows) < batch_size else rows[:batch_size]


def _resolve(size: int | str | None, dims: Mapping[str, int], default: int) -> int:
    return size if isinstance(size, int) else dims.get(size or "", default)


def _make_up(rng: np.random.Generator, kind: str, shape: Sequence[int]) -> np.ndarray:
    """Values of the runtime's type ``kind``; whole numbers are 1, which is a token and a mask anywhere."""
    name = {"float": "float32", "double": "float64", "string": "str"}.get(kind[7:-1], kind[7:-1])
    if not kind.startswith("tensor("):
        raise ChoiceError(f"an input of {kind}: no values can be made up for it, nor read from a file")
    if name in ("float32", "float64", "float16"):
        return rng.random(shape).astype(name)
    if name == "str":
        return np.full(shape, "a")
    try:
        return np.ones(shape, np.dtype(name))
    except (TypeError, ValueError):
        raise ChoiceError(f"an input of {kind}: no values can be made up for it", "--data F.npz gives some") from None


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _read_cpu() -> str:
    """The processor as receipts call it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            pairs = [line.partition(":") for line in file.read().split("\n\n")[0].splitlines()]
    except OSError:
        pairs = []
    info = {key.strip(): value.strip() for key, _, value in pairs}
    numbers = " ".join(f"{key} {info[key]}" for key in ("CPU implementer", "CPU part") if key in info)
    return info.get("model name") or numbers or platform.processor() or platform.machine()


def _first_line(error: Exception | str) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _parse_threads(text: str) -> int:
    """A number, or ``all``: the cores that this process may use."""
    if text == "all":
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    if not text.isdecimal() or len(text) > len(str(MAX_THREADS)) or not 0 < int(text) <= MAX_THREADS:
        raise ChoiceError(f"--threads {text}: expected 1 to {MAX_THREADS}, or all", exit_code=2)
    return int(text)


def format_lines(report: Mapping[str, Any]) -> list[str]:
    """What :func:`choose` found, a line a model and then the choice."""
    lines = []
    for model in report["models"]:
        timed = "not timed" if model["median_ms"] is None else f"{model['median_ms']:.3g} ms, {model['ratio']:.2f}x"
        said = f"left out: {model['why_not']}" if model["why_not"] else model["promise"]
        lines.append(f"{model['name']}: {timed}, {model['bytes']} bytes; {said}")
    chosen = next(model for model in report["models"] if model["name"] == report["chosen"])
    lines += [*(f"caution: {line}" for line in chosen["cautions"]), f"fastest here: {chosen['name']}"]
    return [_clean(line) for line in lines]


def _clean(text: str) -> str:
    """``text``, which may be a stranger's, in one line that commands no terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python choose.py DIR``; the exit code."""
    parser = argparse.ArgumentParser(prog="choose.py", description="Name the fastest model of a folder on this machine.")
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("--data", metavar="F.npz", help="inputs by name; made up without")
    parser.add_argument("--dim", metavar="NAME=N", action="append", default=[], help="the size of a free dimension (1)")
    parser.add_argument("--threads", default="1", metavar="N", help="of one inference, or all (1)")
    parser.add_argument("--batch-size", type=int, default=1, help="samples in one inference, where that is free (1)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args(arguments)
    try:
        pairs = [text.partition("=") for text in given.dim]
        if not all(name and size.isdecimal() for name, _, size in pairs):
            raise ChoiceError("--dim: expected NAME=N", exit_code=2)
        dims = {name: int(size) for name, _, size in pairs}
        threads = _parse_threads(given.threads)
        if given.batch_size < 1:
            raise ChoiceError(f"--batch-size {given.batch_size}: expected 1 or more", exit_code=2)
        report = choose(given.folder, data=given.data, dims=dims, threads=threads, batch_size=given.batch_size)
    except ChoiceError as error:
        sys.stderr.write(f"error: {_clean(str(error))}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"error: {_clean(str(error))}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    try:
        sys.stdout.write((json.dumps(report) if given.json else "\n".join(format_lines(report))) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # who read it had what it wanted; what is left would break the pipe again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
