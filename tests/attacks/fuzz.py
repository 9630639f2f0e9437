"""A coverage-guided fuzzer on everything that reads a stranger's bytes: models, arrays, tables and images.

    python tests/attacks/fuzz.py SECONDS FOLDER [SEED]

The first byte of an input says which reader gets the rest. Whatever ends in a typed error is fine; anything else that
escapes, a hang of ten seconds or three gigabytes of memory is a find: atheris prints it, keeps the input in FOLDER and
ends with an error. Needs ``atheris`` (``pip install "onnxslim-toolkit[fuzz]"``).
"""

from __future__ import annotations

import contextlib
import io as stdio
import logging
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import atheris
import numpy as np
import onnx_ir as ir
from PIL import Image

from tests.support.paths import ROOT

with atheris.instrument_imports(include=["onnxslim"], enable_loader_override=False):
    from onnxslim.core.errors import OnnxslimError
    from onnxslim.data.sources import open_samples
    from onnxslim.model_io import model_file

sys.path.insert(0, str(ROOT))
from tests.attacks.test_mutations import rich

scratch = Path()


def fed(**dims: list[int | str]) -> ir.Model:
    """A model of float inputs, for data to be checked against."""
    values = [
        ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(size)) for name, size in dims.items()
    ]
    return ir.Model(ir.Graph(values, [], nodes=[], opset_imports={"": 17}, name="g"), ir_version=8)


VECTOR, IMAGE = fed(x=["n", 4]), fed(x=["n", 3, 8, 8])


def model(data: bytes) -> None:
    model_file.to_bytes(model_file.load(data))


def file(suffix: str) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        path = scratch / f"data{suffix}"
        path.write_bytes(data)
        for _ in open_samples(str(path), VECTOR, max_samples=64).batches(16):
            pass

    return read


def image(data: bytes) -> None:
    folder = scratch / "images" / "class"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "picture.png").write_bytes(data)
    for _ in open_samples(str(folder.parent), IMAGE, preprocess="resize=8 crop=8").batches(1):
        pass


def preprocess(data: bytes) -> None:
    open_samples(str(scratch / "images"), IMAGE, preprocess=data.decode("utf-8", "replace"))


READERS: tuple[Callable[[bytes], None], ...] = (model, file(".npz"), file(".npy"), file(".csv"), image, preprocess)


def one(data: bytes) -> None:
    """Give one input to its reader."""
    if data:
        with contextlib.suppress(OnnxslimError):
            READERS[data[0] % len(READERS)](data[1:])


def seeds(corpus: Path) -> None:
    """One good input for each reader, so that the fuzzer need not invent zip archives."""
    array = np.ones((3, 4), np.float32)
    made: list[bytes] = [rich(random.Random(0))]
    for save in (lambda b: np.savez(b, x=array), lambda b: np.save(b, array)):
        buffer = stdio.BytesIO()
        save(buffer)
        made.append(buffer.getvalue())
    made.append(b"x0,x1,x2,x3\n1,2,3,4\n5,6,7,8\n")
    buffer = stdio.BytesIO()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(buffer, "PNG")
    made.append(buffer.getvalue())
    made.append(b"resize=8 crop=8 mean=0.5,0.5,0.5 std=0.2,0.2,0.2 scale=255 layout=nchw color=rgb interpolation=bilinear")
    image(made[4])  # what `preprocess` reads with its settings
    for number, data in enumerate(made):
        (corpus / f"seed-{number}").write_bytes(bytes([number]) + data)


def main(seconds: str, folder: str, seed: str = "1") -> None:
    global scratch
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    corpus, scratch = Path(folder) / "corpus", Path(folder) / "scratch"
    for part in (corpus, scratch):
        part.mkdir(parents=True, exist_ok=True)
    seeds(corpus)
    options = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=3000", f"-artifact_prefix={folder}/found-"]
    options.append(f"-seed={seed}")
    atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", "-verbosity=0", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
