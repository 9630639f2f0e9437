"""dense_mlp.onnx: the text's small perceptron, 100 inputs → Dense 128 ReLU → Dropout → Dense 1 sigmoid.

From scikit-learn through skl2onnx, on rows that are made here: 100 features of which 30 say which of two classes a row
belongs to. scikit-learn has no Dropout; the L2 penalty takes its place, and in a file that only predicts nothing would be
left of it anyway. skl2onnx writes both classes' probabilities, of which the second is the text's sigmoid.

Needs scikit-learn and skl2onnx. ``python sample_models/papers/dense_mlp.py`` takes seconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from sklearn.datasets import make_classification
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).resolve().parent
INPUT = "rows"
#: How many rows each part has, in the order in which they are drawn.
SIZES = {"train": 4000, "calib": 500, "eval": 2000}


def rows() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features, float32 (n, 100), and classes, int64 (n,), by part."""
    x, y = make_classification(sum(SIZES.values()), 100, n_informative=30, n_redundant=20, class_sep=1.5, random_state=0)
    x = StandardScaler().fit_transform(x).astype(np.float32)
    ends = np.cumsum(list(SIZES.values()))
    parts = zip(np.split(x, ends[:-1]), np.split(y.astype(np.int64), ends[:-1]), strict=True)
    return dict(zip(SIZES, parts, strict=True))


def main() -> None:
    """Train and export."""
    from skl2onnx import to_onnx  # whoever wants the rows alone needs none of it
    from skl2onnx.common.data_types import FloatTensorType

    parts = rows()
    net = MLPClassifier((128,), alpha=1e-2, max_iter=60, early_stopping=True, random_state=0).fit(*parts["train"])
    model = to_onnx(
        net,
        initial_types=[(INPUT, FloatTensorType([None, 100]))],
        options={id(net): {"zipmap": False}},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    model.graph.name = "dense_mlp"
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(model, full_check=True)
    path = HERE / "dense_mlp.onnx"
    path.write_bytes(model.SerializeToString(deterministic=True))
    print(f"{path.name}: top-1 {net.score(*parts['eval']):.4f} on the evaluation part, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
