"""The page on recognizers of two files does what it says, on a tiny encoder and decoder."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxslim.model_io import model_file
from tests.support.paths import ROOT
from tests.support.quantize_graphs import model

PAGE = (ROOT / "docs" / "how-to" / "speech.md").read_text(encoding="utf-8")
WORDS, WIDTH, BANDS, FRAMES, RECORDINGS = 40, 32, 12, 9, 40


def write_recognizer(folder: Path) -> None:
    """Two files of the page's names, inputs and outputs, random weights; a word depends on the last and on what is heard."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)

    encoder = model(
        f"""g (float[n,f,{BANDS}] features) => (float[n,f,{WIDTH}] states) {{
          a = MatMul(features, up)
          b = Relu(a)
          states = MatMul(b, down)
        }}""",
        up=draw(BANDS, 64),
        down=draw(64, WIDTH),
    )
    decoder = model(
        f"""g (int64[n,t] input_ids, float[n,f,{WIDTH}] encoder_hidden_states) => (float[n,t,{WORDS}] logits) {{
          x = Gather(embedding, input_ids)
          q = MatMul(x, query)
          k = Transpose<perm=[0,2,1]>(encoder_hidden_states)
          a = MatMul(q, k)
          p = Softmax<axis=-1>(a)
          c = MatMul(p, encoder_hidden_states)
          h = Add(x, c)
          logits = MatMul(h, head)
        }}""",
        embedding=rng.standard_normal((WORDS, WIDTH)).astype(np.float32),
        query=draw(WIDTH, WIDTH),
        head=draw(WIDTH, WORDS),
    )
    model_file.save(encoder, folder / "encoder.onnx")
    model_file.save(decoder, folder / "decoder.onnx")
    np.save(folder / "features.npy", rng.standard_normal((RECORDINGS, FRAMES, BANDS)).astype(np.float32))


def read_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def run(folder: Path, line: str) -> str:
    words = shlex.split(line)
    if words[0] == "onnxslim":
        words = [sys.executable, "-m", "onnxslim_cli", *words[1:], "--budget", "6s"]
    words[0] = sys.executable if words[0] == "python" else words[0]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.nightly
def test_the_page_runs_from_top_to_bottom(tmp_path: Path) -> None:
    write_recognizer(tmp_path)
    (script,), (commands,) = read_blocks("python"), read_blocks("sh")
    (tmp_path / "recognizer.py").write_text(script, encoding="utf-8")
    lines = commands.splitlines()
    assert [line.split()[0] for line in lines] == ["mkdir", "python", "onnxslim", "python", "onnxslim", "python"]
    said = [run(tmp_path, line) for line in lines]
    assert run(tmp_path, "python recognizer.py compare encoder.onnx decoder.onnx") == "word error 0.00%\n"
    assert float(said[-1].removeprefix("word error ").rstrip("%\n")) < 50  # unrelated files: nearly all
    for name in ("encoder.onnx", "decoder.onnx"):
        before, after = (onnx.load(tmp_path / folder / name) for folder in ("", "slim"))
        assert [v.name for v in after.graph.output] == [v.name for v in before.graph.output]


@pytest.mark.parametrize(
    ("wanted", "found", "errors"), [([2, 3, 4], [2, 4], 1), ([2, 3], [2, 3, 5], 1), ([2, 3], [3, 2], 2), ([], [], 0)]
)
def test_its_word_errors_are_edits_up_to_the_end(wanted: list[int], found: list[int], errors: int) -> None:
    names: dict[str, object] = {"__name__": "recognizer"}
    exec(compile(read_blocks("python")[0], "recognizer.py", "exec"), names)
    count, compare = names["count_errors"], names["compare_texts"]
    assert callable(count)
    assert callable(compare)
    assert count(wanted, found) == errors
    padded = [np.array([[*words, 1, *[7] * (5 - len(words))]]) for words in (found, wanted)]
    np.testing.assert_allclose(compare(*padded), [1 - errors / max(len(wanted), 1)])
