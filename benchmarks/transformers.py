"""Transformers in every form that ``quantize`` writes, in one interleaved run: speed, size and SQNR beside float.

    python benchmarks/transformers.py                                  # the encoder of the tests, 6 layers of 768
    python benchmarks/transformers.py encoder.onnx --data calib.npz    # a model of yours
    python benchmarks/transformers.py --peer /path/to/python           # with onnxruntime's quantize_dynamic

The peer is ``quantize_dynamic`` with int8 weights per channel, run by an interpreter that can import
``onnxruntime.quantization``; only timing is shared.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session, version
from onnxslim.runtime.timing import interleave
from tests.support.encoder import encoder

FORMS = {
    "dynamic int8": QuantizeOptions(activations="dynamic", placement="static"),
    "int8 blocks": QuantizeOptions(weights="int8", placement="static"),
    "int4 blocks": QuantizeOptions(weights="int4", placement="static"),
    "codebook:16": QuantizeOptions(weights="codebook:16", placement="static"),
}
PEER = """
import sys
from onnxruntime.quantization import QuantType, quantize_dynamic
quantize_dynamic(sys.argv[1], sys.argv[2], weight_type=QuantType.QInt8, per_channel=True)
"""


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--data", help="what the model is run on")
    parser.add_argument("--peer", metavar="PYTHON")
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    model = encoder() if arguments.model is None else model_file.load(arguments.model)
    data = arguments.data or {"x": np.random.default_rng(0).standard_normal((16, 128, 768)).astype(np.float32)}
    samples = open_samples(data, model)
    models = {"float": model, **{name: quantize(model, samples, options)[0] for name, options in FORMS.items()}}
    sizes = {name: len(model_file.to_bytes(found)) for name, found in models.items()}
    if arguments.peer:
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder) / name) for name in ("float.onnx", "peer.onnx")]
            model_file.save(model, paths[0])
            subprocess.run([arguments.peer, "-c", PEER, *paths], check=True, capture_output=True)
            models["quantize_dynamic"] = model_file.clone(model_file.load(paths[1]))
            sizes["quantize_dynamic"] = Path(paths[1]).stat().st_size
    sessions = {name: Session(found) for name, found in models.items()}
    feeds = [dict(batch) for batch in samples.batches(1)][-8:]
    timing = interleave(sessions, feeds, rounds=60, seconds=arguments.seconds)
    print(f"onnxruntime {version()}, 1 thread, {len(feeds)} samples one by one, {len(timing.rounds['float'])} rounds")
    wanted = [sessions["float"].run(feed) for feed in feeds]
    for name, session in sessions.items():
        found = [session.run(feed) for feed in feeds]
        signal = sum(float(np.square(a[key], dtype=np.float64).sum()) for a in wanted for key in a)
        gaps = [a[key] - b[key] for a, b in zip(wanted, found, strict=True) for key in a]
        noise = sum(float(np.square(gap, dtype=np.float64).sum()) for gap in gaps)
        ratios = timing.rounds["float"] / timing.rounds[name]
        low, middle, high = np.percentile(ratios, [10, 50, 90])
        decibels = 10 * np.log10(signal / noise) if noise else np.inf
        print(
            f"{name:18s} {sizes[name] / 1e6:7.1f} MB  {1e3 * timing.median(name):7.2f} ms  "
            f"{middle:5.2f}x ({low:.2f}-{high:.2f})  {decibels:5.1f} dB"
        )


if __name__ == "__main__":
    main()
