"""Folders that were written open in the loaders that they are made for, where those are installed."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim_cli.main import main
from tests.support.model_folders import make_folder


def test_onnxruntime_genai_goes_on_with_a_text_as_before(tmp_path):
    genai = pytest.importorskip("onnxruntime_genai", reason="onnxruntime-genai is not installed")
    folder, out = make_folder("genai", tmp_path / "in"), tmp_path / "out"
    assert main(["simplify", str(folder), "-o", str(out)]) == 0
    texts = []
    for place in (folder, out):
        model = genai.Model(str(place))
        options = genai.GeneratorParams(model)
        options.set_search_options(max_length=12, do_sample=False)
        generator = genai.Generator(model, options)
        generator.append_tokens([4, 5, 6])
        while not generator.is_done():
            generator.generate_next_token()
        texts.append(np.array(generator.get_sequence(0)).tolist())
    assert texts[0] == texts[1]
    assert len(texts[0]) > 3
