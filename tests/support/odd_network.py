"""A network of two convolutions that is given odd inputs and weights."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tests.support.quantize_graphs import model

RNG = np.random.default_rng(0)


def network(first: np.ndarray | None = None, middle: str = "b = Relu(a)") -> ir.Model:
    """Two 3×3 convolutions with something between them; ``first`` are the weights of the first."""
    return model(
        f"""g (float[n,4,32,32] x) => (float[n,16,32,32] y) <float zero = {{0}}> {{
          a = Conv<pads=[1,1,1,1]>(x, w)
          {middle}
          y = Conv<pads=[1,1,1,1]>(b, v)
        }}""",
        w=RNG.normal(size=(16, 4, 3, 3)).astype(np.float32) / 6 if first is None else first,
        v=RNG.normal(size=(16, 16, 3, 3)).astype(np.float32) / 12,
    )


def images(n: int = 12) -> np.ndarray:
    return RNG.normal(size=(n, 4, 32, 32)).astype(np.float32)
