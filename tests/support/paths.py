"""Where the tests find the repository and its sample models, wherever the test itself stands."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "sample_models"
