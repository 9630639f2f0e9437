"""digits_mlp.onnx: scikit-learn's MLPClassifier, 64-64-32-10, through skl2onnx.

Outputs are tensors (ZipMap off): ``label`` (n,) int64 and ``probabilities`` (n, 10) float32. skl2onnx exports a model
of flat rows; a Flatten in front makes it read the same (n, 1, 8, 8) images as the other samples.

Needs scikit-learn and skl2onnx. ``python sample_models/train_digits_mlp.py`` takes a few seconds.
"""

from __future__ import annotations

import digits
import onnx
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.neural_network import MLPClassifier

OPSETS = {"": 17, "ai.onnx.ml": 3}


def train() -> MLPClassifier:
    """The classifier, fitted on the training part."""
    images, labels = digits.load("train")
    net = MLPClassifier((64, 32), alpha=1e-2, batch_size=64, max_iter=120, random_state=0)
    return net.fit(images.reshape(len(images), -1), labels)


def export(net: MLPClassifier) -> onnx.ModelProto:
    """``net`` as ONNX, reading images."""
    rows = [("rows", FloatTensorType([None, 64]))]
    model = to_onnx(net, initial_types=rows, options={id(net): {"zipmap": False}}, target_opset=OPSETS)
    graph = model.graph
    graph.name = "digits_mlp"
    graph.node.insert(0, helper.make_node("Flatten", [digits.INPUT], ["rows"], name="flatten", axis=1))
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(digits.INPUT, TensorProto.FLOAT, ["batch", 1, 8, 8]))
    for output in graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Train and export."""
    net = train()
    images, labels = digits.load("eval")
    path = digits.HERE / "digits_mlp.onnx"
    path.write_bytes(export(net).SerializeToString(deterministic=True))
    score = net.score(images.reshape(len(images), -1), labels)
    print(f"{path.name}: top-1 {score:.4f} on the evaluation part, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
