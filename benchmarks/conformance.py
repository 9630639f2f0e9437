"""The CPU target's table and claims against other releases of onnxruntime: what fuses where.

    python benchmarks/conformance.py RELEASE ... [--write]

Each release is installed by pip into a folder of its own and asked in a process of its own, with this environment's other
libraries. ``--write`` keeps the answers in docs/reference/conformance.json, which the tests hold to the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "docs" / "reference" / "conformance.json"
_ASK = """
import json, onnxruntime
from onnxslim.quantization.conformance import pattern_checks
from onnxslim.quantization.targets.onnxruntime_cpu import CPU
rows, claims = pattern_checks.check_target(CPU), pattern_checks.check_claims()
answer = {"ops": {r.op: r.fused for r in rows if r.claimed}, "others": {r.op: r.fused for r in rows if not r.claimed}}
answer["claims"] = {r.op: r.fused for r in claims}
print(json.dumps({onnxruntime.__version__: answer}))
"""


def ask(release: str) -> dict[str, dict[str, dict[str, bool]]]:
    """By release: whether each op's pattern fuses, whether those that we leave float do, and which claims hold."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
        subprocess.run([*pip, f"onnxruntime=={release}"], check=True)
        paths = [folder, str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
        done = subprocess.run([sys.executable, "-c", _ASK], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Print what differs, release by release."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", nargs="+")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    answers = {}
    for release in given.releases:
        answers.update(ask(release))
    for release, answer in answers.items():
        unfused = [op for op, fused in answer["ops"].items() if not fused]
        fused = [op for op, fuses in answer["others"].items() if fuses]
        failed = [claim for claim, holds in answer["claims"].items() if not holds]
        print(f"{release}: {len(answer['ops']) - len(unfused)} of {len(answer['ops'])} ops fuse", *unfused)
        print(f"  fuses beside the table: {', '.join(fused) or 'nothing'}")
        print(f"  claims that do not hold: {'; '.join(failed) or 'none'}")
    if given.write:
        answers = json.loads(DATA.read_text(encoding="utf-8")) | answers
        DATA.write_text(json.dumps(dict(sorted(answers.items())), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
