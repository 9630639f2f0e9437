"""Transformers as they are compressed, in one interleaved run: speed, size and SQNR beside float.

    python benchmarks/transformer_encoders.py                                  # the encoder of the tests, 6 layers of 768
    python benchmarks/transformer_encoders.py encoder.onnx --data calib.npz    # a model of yours
    python benchmarks/transformer_encoders.py --peer /path/to/python           # with onnxruntime's quantize_dynamic
    python benchmarks/transformer_encoders.py encoder.onnx --data fit.npz --eval-data other.npz \
        --remove 23% 33% --recover 10m --embedding sentence_embedding          # pruned, recovered, then dynamic int8

Without ``--remove`` it is every form that ``quantize`` writes. With it, for each share of the time: what ``prune`` leaves,
the same by magnitude with one share for all layers (repaired too), what ``recover`` makes of each, and dynamic int8 of
that. With ``--embedding`` the last column is the rank correlation of the similarities of all pairs of samples.

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
import onnx_ir as ir
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from onnxslim.core.errors import GateError
from onnxslim.core.quantities import parse_duration, parse_share
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.step import prune
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.step import recover
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
    parser.add_argument("--eval-data", help="what the results are judged and timed on, by default the same")
    parser.add_argument("--remove", nargs="*", default=[], help="shares of the time to prune by, such as 23%%")
    parser.add_argument("--recover", help="time to train the pruned models for, such as 10m")
    parser.add_argument("--embedding", help="an output whose rows are compared by their similarities")
    parser.add_argument("--peer", metavar="PYTHON")
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    model = encoder() if arguments.model is None else model_file.load(arguments.model)
    data = arguments.data or {"x": np.random.default_rng(0).standard_normal((16, 128, 768)).astype(np.float32)}
    samples = open_samples(data, model)
    judged = samples if arguments.eval_data is None else open_samples(arguments.eval_data, model)
    seconds = None if arguments.recover is None else parse_duration(arguments.recover)
    models = {"float": model}
    for share in arguments.remove:
        models |= prune_in_forms(model, samples, share, seconds)
    if not arguments.remove:
        models |= {name: quantize(model, samples, options)[0] for name, options in FORMS.items()}
    sizes = {name: len(model_file.to_bytes(found)) for name, found in models.items()}
    if arguments.peer:
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder) / name) for name in ("float.onnx", "peer.onnx")]
            model_file.save(model, paths[0])
            subprocess.run([arguments.peer, "-c", PEER, *paths], check=True, capture_output=True)
            models["quantize_dynamic"] = model_file.clone(model_file.load(paths[1]))
            sizes["quantize_dynamic"] = Path(paths[1]).stat().st_size
    sessions = {name: Session(found) for name, found in models.items()}
    feeds = [dict(batch) for batch in judged.batches(1)][-8:]
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
            f"{name:28s} {sizes[name] / 1e6:7.1f} MB  {1e3 * timing.median(name):7.2f} ms  "
            f"{middle:5.2f}x ({low:.2f}-{high:.2f})  {decibels:5.1f} dB"
            + (
                ""
                if arguments.embedding is None
                else f"  {compare_similarities(sessions['float'], session, judged, arguments.embedding):.4f}"
            )
        )


def prune_in_forms(model: ir.Model, samples: Samples, share: str, seconds: float | None) -> dict[str, ir.Model]:
    """``model`` without ``share`` of its time: by our choice and by magnitude, trained for ``seconds``, in dynamic int8."""
    forms, remove = dict[str, ir.Model](), parse_share(share)
    by_magnitude = PruneOptions(remove=remove, of="latency", criterion="l2", uniform=True)
    for name, options in {"pruned": PruneOptions(remove=remove, of="latency"), "magnitude": by_magnitude}.items():
        try:
            forms[f"{name} {share}"] = last = prune(model, samples, options)[0]
        except GateError as error:
            print(f"{name} {share}: {error}")
            continue
        if seconds is not None:
            last = recover(last, model, samples, RecoverOptions(seconds=seconds))[0]
            forms[f"{name} {share}, recovered"] = last
        forms[f"{name} {share}, int8"] = quantize(last, samples, FORMS["dynamic int8"])[0]
    return forms


def compare_similarities(original: Session, result: Session, samples: Samples, output: str) -> float:
    """Spearman's rank correlation of the cosines of all pairs of samples, among the original's rows and the result's."""
    similarities = []
    for session in (original, result):
        rows = np.concatenate([np.asarray(session.run(dict(batch))[output], np.float64) for batch in samples.batches(1)])
        rows = rows.reshape(len(rows), -1)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        similarities.append((rows @ rows.T)[np.triu_indices(len(rows), 1)])
    return float(spearmanr(*similarities).statistic)


if __name__ == "__main__":
    main()
