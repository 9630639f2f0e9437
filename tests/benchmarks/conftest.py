"""The scripts of ``benchmarks/`` import each other by name, from their own folder."""

import sys

from tests.support.paths import ROOT

sys.path.append(str(ROOT / "benchmarks"))
