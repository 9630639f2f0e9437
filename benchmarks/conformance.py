"""The CPU targets' tables and claims against other releases of onnxruntime, and on other processors: what fuses where.

    python benchmarks/conformance.py RELEASE ... [--write]
    python benchmarks/conformance.py --processors [--write]

Each release is installed by pip into a folder of its own and asked in a process of its own, with this environment's other
libraries. Other processors are asked under emulation, as far as it is here: on Arm the release that ``conformance_arm.sh``
unpacked. ``--write`` keeps the answers in docs/reference/, which the tests hold to the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "docs" / "reference" / "conformance.json"
PROCESSOR_DATA = ROOT / "docs" / "reference" / "conformance_processors.json"
#: The processes that it starts are of the same kind.
_ASK = """
import sys
sys.executable = sys.argv[1]
import json, onnxruntime
from onnxslim.quantization.conformance import half_float_kernels, pattern_checks, product_checks
from onnxslim.quantization.conformance.block_kernels import find_block_formats
from onnxslim.quantization.targets.detect import detect_target
from onnxslim.runtime.session import SessionConfig
config = SessionConfig()
target = detect_target(config)
rows, claims = pattern_checks.check_target(target, config), pattern_checks.check_claims(config)
answer = {"ops": {r.op: r.fused for r in rows if r.claimed}, "others": {r.op: r.fused for r in rows if not r.claimed}}
answer["claims"] = {r.op: r.fused for r in claims}
answer["products"] = product_checks.check_products(config)
answer["half_floats"] = half_float_kernels.find_half_float_kernels(config)
answer["blocks"] = [str(block_format) for block_format in find_block_formats(config, by_time=False)]
print(json.dumps({onnxruntime.__version__: answer}))
"""

Answers = dict[str, dict[str, Any]]


def ask_release(release: str) -> Answers:
    """By release: whether each op's pattern fuses, whether those that we leave float do, and which claims hold."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
        subprocess.run([*pip, f"onnxruntime=={release}"], check=True)
        return ask([sys.executable], [folder, str(ROOT), os.environ.get("PYTHONPATH", "")])


def ask_processors() -> dict[str, Answers]:
    """The same of every processor that can be emulated here, by its name."""
    from onnxslim.core.errors import UnsupportedError
    from onnxslim.runtime.emulation.processor_table import PROCESSORS, find_interpreter

    answers = {}
    for name, processor in PROCESSORS.items():
        try:
            interpreter = find_interpreter(processor)
        except UnsupportedError as error:
            print(f"{name}: {error.message} ({error.hint})")
            continue
        folders = interpreter.module_folders or [os.environ.get("PYTHONPATH", "")]
        if not processor.is_here():
            answers[name] = ask(interpreter.command, [str(ROOT), *folders])
    return answers


def ask(command: Sequence[str], module_folders: Sequence[str]) -> Answers:
    """What a Python of another runtime answers."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folder for folder in module_folders if folder)}
    with tempfile.TemporaryDirectory() as folder:
        launcher = Path(folder) / "python"
        launcher.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        launcher.chmod(0o755)
        call = [launcher, "-c", _ASK, launcher]
        done = subprocess.run(call, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def show(name: str, answer: dict[str, Any]) -> None:
    """Print what holds, and what does not."""
    unfused = [op for op, fused in answer["ops"].items() if not fused]
    fused = [op for op, fuses in answer["others"].items() if fuses]
    print(f"{name}: {len(answer['ops']) - len(unfused)} of {len(answer['ops'])} ops fuse", *unfused)
    print(f"  fuses beside the table: {', '.join(fused) or 'nothing'}")
    for title, key in (
        ("claims that do not hold", "claims"),
        ("products that are not exact", "products"),
        ("not in half floats", "half_floats"),
    ):
        print(f"  {title}: {'; '.join(row for row, holds in answer[key].items() if not holds) or 'none'}")
    print(f"  blocks that are right: {'; '.join(answer['blocks']) or 'none'}")


def write(path: Path, answers: Answers) -> None:
    """Keep ``answers`` beside those that are there."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    merged = known | {name: known.get(name, {}) | found for name, found in answers.items()}
    path.write_text(json.dumps(dict(sorted(merged.items())), indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Print what differs, release by release or processor by processor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", nargs="*")
    parser.add_argument("--processors", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    answers: Answers = {}
    for release in given.releases:
        answers.update(ask_release(release))
    for release, answer in answers.items():
        show(release, answer)
    if given.write and answers:
        write(DATA, answers)
    emulated = ask_processors() if given.processors else {}
    for name, by_release in emulated.items():
        for release, answer in by_release.items():
            show(f"{release} on {name}", answer)
    if given.write and emulated:
        write(PROCESSOR_DATA, emulated)


if __name__ == "__main__":
    main()
