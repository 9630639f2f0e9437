"""The oracle on torchvision's architectures, random weights, from both of PyTorch's exporters; 50 sets on each.

torchvision's own C++ ops are not needed for exporting classifiers; where its build does not match torch's, defining
their names is enough to import it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from onnxslim.simplification.step import simplify
from tests.support.mask_oracle import assert_exact

pytestmark = pytest.mark.nightly

#: architecture -> the least reach, logits aside
REACH = {
    "resnet18": 0.9,
    "resnet50": 0.9,
    "mobilenet_v2": 0.9,
    "mobilenet_v3_small": 0.9,
    "densenet121": 0.9,
    "googlenet": 0.9,
    "regnet_y_400mf": 0.9,
    "resnext50_32x4d": 0.9,
    "efficientnet_b0": 0.9,
    "squeezenet1_1": 0.9,
    "shufflenet_v2_x1_0": 0.6,
    "encoder of 6 layers": 0.5,
}
OPS = ("nms", "qnms", "roi_align", "qroi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d")


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="no torch here")


@pytest.fixture(scope="module")
def models(torch: Any) -> Any:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for op in OPS:
        for name in (op, f"_{op}_backward"):
            if not hasattr(torch.ops.torchvision, name):
                library.define(f"{name}() -> ()")
    return pytest.importorskip("torchvision.models", reason="no torchvision here")


def network(torch: Any, models: Any, name: str) -> tuple[Any, Any]:
    """A network whose statistics are not those of initialisation, and its input."""
    torch.manual_seed(0)
    if name.startswith("encoder"):
        layer = torch.nn.TransformerEncoderLayer(64, 4, 256, batch_first=True)
        encoder = torch.nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        return torch.nn.Sequential(encoder, torch.nn.Linear(64, 10)).eval(), torch.randn(2, 16, 64)
    options = {"init_weights": True, "aux_logits": False} if name == "googlenet" else {}
    net = getattr(models, name)(weights=None, **options).eval()
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.normal_(0, 0.2)
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 1.5)
    return net, torch.randn(1, 3, 64, 64)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("simple", [False, True], ids=["as exported", "simplified"])
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("name", REACH)
def test_architecture(torch: Any, models: Any, tmp_path: Path, name: str, exporter: str, simple: bool) -> None:
    net, x = network(torch, models, name)
    path = tmp_path / "net.onnx"
    logging.disable(logging.WARNING)
    try:
        if exporter == "dynamo":
            torch.onnx.export(net, (x,), str(path), dynamo=True, external_data=False, verbose=False)
        else:
            axes = {"x": {0: "batch"}}
            torch.onnx.export(net, (x,), str(path), dynamo=False, opset_version=17, input_names=["x"], dynamic_axes=axes)
    finally:
        logging.disable(logging.NOTSET)
    model = ir.load(path)
    if simple:
        model, _ = simplify(model)
    analysis = assert_exact(model, sets=50, dims=None if exporter == "dynamo" else {"batch": 2})
    if simple:
        assert analysis.prunable_share >= REACH[name]
