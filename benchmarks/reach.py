"""How far ``optimize`` reaches: the models of a manifest with its defaults, judged as a user would, beside hand recipes.

    python benchmarks/reach.py MANIFEST.json OUT.jsonl --budget 120s           # all models, all tools
    python benchmarks/reach.py MANIFEST.json OUT.jsonl --tools onnxslim --only NAME,NAME
    python benchmarks/reach.py MANIFEST.json OUT.jsonl --table                 # the tables of what is there

The manifest is a list of objects: ``name``, ``kind``, ``model``, ``fit`` and ``confirm`` (paths from the manifest's folder;
``.npz`` of inputs by name), ``flags`` (what the model needs: ``--state OUT=IN`` or ``auto``, and the like) and ``natural``:
what its user judges by, handed to ``judge(spec, originals, results)`` of the module ``--judges`` (``natural.py`` beside the
manifest). It returns figures by name; both sides are lists of outputs by name, one a sample, one a step of sequences.
``judge`` gets ``labels`` if it takes them. ``judging/limits.py`` says which figures are still accepted.

Every model is compressed, and its result verified by onnxruntime alone, in processes of their own: nothing that a tool says
of itself is counted. OUT.jsonl has one line a model and tool, and goes on where it ended. Memory is the largest process's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from judging.limits import LIMITS, find_best_by_hand, find_broken, get_gain, is_kept, summarize, time_beside

OURS = "onnxslim"
TOOLS = (OURS, "dynamic", "static", "static-linear")
HERE = Path(__file__).resolve().parent
#: A recipe by hand has no budget: it is ended after so many seconds.
HAND_SECONDS = 900.0
VERIFY_SECONDS = 600.0


@dataclass(frozen=True)
class Ran:
    """A command's end: exit code (negative: a signal), seconds, peak bytes of its largest process, what it printed."""

    exit: int
    seconds: float
    peak_bytes: int
    out: str
    err: str


def run(command: list[str], limit: float) -> Ran:
    """``command`` in a session of its own, ended after ``limit`` seconds; one thread of linear algebra."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True, env=environment
        )
        timer = threading.Timer(limit, lambda: os.killpg(process.pid, signal.SIGKILL))
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)  # what this process held at the fork counts too: import little here
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        for stream in (out, err):
            stream.seek(0)
        return Ran(process.returncode, seconds, usage.ru_maxrss * 1024, out.read(), err.read().strip())


def parse_seconds(text: str) -> float:
    """``90``, ``90s``, ``2m`` or ``1h`` in seconds."""
    found = re.fullmatch(r"([\d.]+)([smh]?)", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no time: 90s, 2m or 1h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """What is in OUT already; of a model and tool that are there twice, the later."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if line.strip()]
    return list({(row["name"], row["tool"]): row for row in rows}.values())


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Write ``row`` at the end of OUT."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_manifest(path: Path) -> list[dict[str, Any]]:
    """Its entries, paths whole."""
    entries = json.loads(path.read_text(encoding="utf-8"))
    places = ("model", "fit", "confirm")
    return [entry | {key: path.resolve().parent / os.path.expandvars(entry[key]) for key in places} for entry in entries]


def get_states(entry: dict[str, Any]) -> list[str]:
    """The entry's ``--state`` options, as the parts of ``judging`` take them."""
    flags = [str(flag) for flag in entry.get("flags", [])]
    return [part for flag, value in pairwise(flags) if flag == "--state" for part in (flag, value)]


def make_command(entry: dict[str, Any], tool: str, out: Path, given: argparse.Namespace) -> list[str]:
    """What makes ``out``."""
    if tool != OURS:
        paths = [str(entry["model"]), str(entry["fit"]), str(out)]
        return [sys.executable, "-m", "judging.hand_recipes", tool, *paths, *get_states(entry)]
    data = ["--data", str(entry["fit"]), "--eval-data", str(entry["confirm"])]
    flags = [*map(str, entry.get("flags", [])), *given.extra.split()]
    asked = ["--budget", f"{given.budget:g}s", "--json", "--force"]
    return [*given.command.split(), "optimize", str(entry["model"]), "-o", str(out), *data, *flags, *asked]


def verify(entry: dict[str, Any], result: Path, judges: Path) -> dict[str, Any]:
    """What ``judging/verification.py`` finds, or the last line of what it died of."""
    command = [sys.executable, "-m", "judging.verification", *(str(entry["model"]), str(result), str(entry["confirm"]))]
    if entry.get("natural"):
        command += ["--natural", entry["natural"], "--judges", str(judges)]
    ran = run([*command, *get_states(entry)], VERIFY_SECONDS)
    if ran.exit:
        return {"error": (ran.err.splitlines() or [f"exit {ran.exit}"])[-1][:200]}
    return dict(json.loads(ran.out.splitlines()[-1]))


def compress(entry: dict[str, Any], tool: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """One row: how the command ended, what it said, and what its file is worth."""
    out = get_path(entry, tool, folder)
    out.unlink(missing_ok=True)
    limit = 3 * given.budget + 120 if tool == OURS else HAND_SECONDS
    ran = run(make_command(entry, tool, out, given), limit)
    row: dict[str, Any] = {"name": entry["name"], "kind": entry["kind"], "tool": tool, "budget_s": given.budget}
    row |= {"started": time.strftime("%F %T"), "exit": ran.exit, "wall_s": round(ran.seconds, 1)}
    row |= {"peak_bytes": ran.peak_bytes, "model_bytes": entry["model"].stat().st_size}
    if tool == OURS:
        row |= {"said": ran.err[-2000:], **read_told(ran.out)}
        (folder / f"{entry['name']}.json").write_text(ran.out, encoding="utf-8")
    elif ran.exit:
        row["error"] = (ran.err.splitlines() or [""])[-1][:200]
    if ran.exit == 0 and out.exists():
        seen = verify(entry, out, given.judges)
        row |= {"error": seen["error"]} if "error" in seen else {"verified": seen}
    elif tool == OURS:
        row["runs"] = "error" not in verify(entry, entry["model"], given.judges)
    return row


def get_path(entry: dict[str, Any], tool: str, folder: Path) -> Path:
    """Where the file of ``tool`` is."""
    return folder / f"{entry['name']}.{tool}.onnx"


def compare_with_hand(
    entry: dict[str, Any], rows: list[dict[str, Any]], folder: Path, judges: Path
) -> dict[str, Any] | None:
    """Our row of ``entry`` with how many times faster it is than the best by hand, in turn; None where one is not there.

    Ratios to the original that were measured hours apart differ by a tenth where the machine does other work.
    """
    row = next((row for row in rows if (row["name"], row["tool"]) == (entry["name"], OURS)), None)
    hand = find_best_by_hand(rows, entry["name"], OURS)
    if row is None or hand is None:
        return None
    paths = [get_path(entry, tool, folder) for tool in (hand["tool"], OURS)]
    if not all(path.exists() for path in paths):
        return None
    seen = verify(entry | {"model": paths[0], "natural": None}, paths[1], judges)
    return None if "error" in seen else row | {"beside_hand": {"tool": hand["tool"], "speed_ratio": seen["speed_ratio"]}}


def read_told(text: str) -> dict[str, Any]:
    """What a person would look at first of the command's JSON: the error, what was chosen, what was tried."""
    try:
        told = json.loads(text)
    except ValueError:
        return {"error": "no JSON"}
    keys = ("name", "tune_drop", "speedup", "bytes", "passes", "seconds", "note", "error", "missed")
    tried = [{key: each.get(key) for key in keys} for each in told.get("candidates") or []]
    parts = {key: told.get(key) for key in ("chosen", "stopped", "judged", "warnings", "recipe")}
    metrics = [{key: each.get(key) for key in ("name", "output", "drop", "n")} for each in told.get("metrics") or []]
    return {"error": (told.get("error") or {}).get("message"), **parts, "metrics": metrics, "candidates": tried}


def describe(row: dict[str, Any] | None) -> list[str]:
    """Speed, size and what is kept, as cells."""
    if row is None:
        return ["–", "–", "–"]
    if not row.get("verified"):
        return ["–", "–", f"exit {row['exit']}" if row["exit"] else "does not run"]
    speed, size = get_gain(row)
    figures = row["verified"].get("natural") or {}
    named = (*LIMITS, "top1_same", "mae", "mae_of_range")
    shown = [f"{name} {figures[name]}" for name in named if figures.get(name) is not None]
    verdict = {True: "", False: "**broken**: ", None: "not judged"}[is_kept(row)]
    return [f"{speed:.2f}", f"{size:.2f}", "the original" if row["verified"]["identical"] else verdict + ", ".join(shown)]


def print_tables(rows: list[dict[str, Any]]) -> None:
    """What was reached, then a line a model, in Markdown."""
    print("| | reached |", "|---|---|", *(f"| {what} | {reached} |" for what, reached in summarize(rows, OURS)), sep="\n")
    titles = ["model", "kind", "faster", "smaller", "kept", "seconds", "MB", "best by hand", "faster", "smaller", "kept"]
    print("", "| " + " | ".join(titles) + " |", "|---" * len(titles) + "|", sep="\n")
    for row in (row for row in rows if row["tool"] == OURS):
        hand = time_beside(row, find_best_by_hand(rows, row["name"], OURS))
        cost = [f"{row['wall_s']:.0f}", f"{row['peak_bytes'] / 1e6:.0f}"]
        cells = [row["name"], row["kind"], *describe(row), *cost, hand["tool"] if hand else "none keeps it", *describe(hand)]
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    """Sweep, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path, help="JSON lines, begun or continued")
    parser.add_argument("--budget", type=parse_seconds, default=120.0, help="of one optimize (120s)")
    parser.add_argument("--tools", default=",".join(TOOLS), help="by commas")
    parser.add_argument("--only", default="", help="names, by commas")
    parser.add_argument("--judges", type=Path, help="natural.py beside the manifest")
    parser.add_argument("--command", default=f"{sys.executable} -m onnxslim_cli", help="what optimize is called with")
    parser.add_argument("--extra", default="", help="more flags of optimize")
    parser.add_argument("--keep", type=Path, help="a folder for results and their JSON")
    parser.add_argument("--table", action="store_true", help="print the tables of OUT and run nothing")
    given = parser.parse_args()
    given.judges = (given.judges or given.manifest.resolve().parent / "natural.py").resolve()
    only = set(filter(None, given.only.split(",")))
    entries = [entry for entry in read_manifest(given.manifest) if not only or entry["name"] in only]
    done = {(row["name"], row["tool"]) for row in read_rows(given.out)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for entry in [] if given.table else entries:
            tools = [tool for tool in given.tools.split(",") if (entry["name"], tool) not in done]
            for tool in tools:
                row = compress(entry, tool, folder, given)
                add_row(given.out, row)
                broken = find_broken((row.get("verified") or {}).get("natural") or {})
                told = [f"{row['wall_s']} s", *broken, row.get("error") or ""]
                print(row["name"], tool, *describe(row), *told, file=sys.stderr)
            if tools and (timed := compare_with_hand(entry, read_rows(given.out), folder, given.judges)) is not None:
                add_row(given.out, timed)
            for tool in [] if given.keep else tools:
                get_path(entry, tool, folder).unlink(missing_ok=True)
    print_tables(read_rows(given.out))


if __name__ == "__main__":
    main()
