"""Nodes left of what PyTorch's two exporters write for networks of many kinds, beside the peers.

    python benchmarks/exports.py --peers .peers/bin/python --models .models --torchvision DIR [NETWORK ...]

The networks are those of ``networks.py`` and twelve of torchvision's, small; dimensions are free where a user would
leave them so. Each tool runs as ``simplify.py`` (see there) runs it; the outputs of ours are compared with the
export's, the runtime's optimisation off, over 5 seeds and 2 sizes of every free dimension.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import simplify
from simplify_rows import imported_torch, imported_torchvision

#: Two sizes of free dimensions, by name, and of those that the exporter named itself, by (rank, axis).
SIZES = (
    {"batch": 2, "length": 7, "time": 30, "height": 64, "width": 64, "samples": 400},
    {"batch": 3, "length": 12, "time": 41, "height": 96, "width": 32, "samples": 611},
)


def vision(torch: Any, args: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """torchvision's networks, narrow where that is an argument."""
    m = imported_torchvision(args).models
    blocks = [m.convnext.CNBlockConfig(16, 32, 1), m.convnext.CNBlockConfig(32, None, 1)]
    return {
        "ViT": lambda: m.VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=10),
        "Swin": lambda: m.swin_transformer.SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4], num_classes=10),
        "ShuffleNet v2": m.shufflenet_v2_x0_5,
        "MobileNet v3": m.mobilenet_v3_small,
        "SqueezeNet": m.squeezenet1_1,
        "EfficientNet B0": m.efficientnet_b0,
        "GoogLeNet": lambda: m.googlenet(aux_logits=False, init_weights=False),
        "DenseNet 121": m.densenet121,
        "RegNet Y": m.regnet_y_400mf,
        "ConvNeXt": lambda: m.convnext.ConvNeXt(blocks, num_classes=10),
        "MNASNet": m.mnasnet0_5,
        "LR-ASPP": lambda: m.segmentation.lraspp_mobilenet_v3_large(weights_backbone=None),
    }


def exports(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """(network, exporter, file), exported where the file is not there yet; what an exporter refuses is left out."""
    torch = imported_torch()
    from networks import networks

    torch.backends.mha.set_fastpath_enabled(False)  # TorchScript cannot export the fused layer
    found = networks()
    if args.torchvision is not None:
        image = (torch.randn(2, 3, 64, 64),)
        for name, make in vision(torch, args).items():
            size = (torch.randn(2, 3, 32, 32),) if name == "ViT" else image
            found[name] = (make(), size, {0: {0: "batch"}})
    for name, (network, inputs, axes) in found.items():
        if args.networks and not any(part in name for part in args.networks):
            continue
        for exporter in ("TorchScript", "dynamo"):
            path = folder / f"{name.replace(' ', '_').replace(',', '')}_{exporter}.onnx"
            try:
                if not path.exists():
                    _export(torch, network.eval(), inputs, axes, path, dynamo=exporter == "dynamo")
            except Exception as error:  # what exporters raise is any exception at all
                print(f"{name}, {exporter}: left out, {str(error).splitlines()[0][:100]}")
                continue
            yield name, exporter, path


def _export(torch: Any, network: Any, inputs: Any, axes: Any, path: Path, *, dynamo: bool) -> None:
    names = [f"in{index}" for index in range(len(inputs))]
    with torch.no_grad():
        if dynamo:
            free = {index: dict.fromkeys(axes.get(index, {}), torch.export.Dim.DYNAMIC) for index in range(len(inputs))}
            shapes = tuple(free.values()) if axes else None
            how = {"dynamo": True, "optimize": False, "verbose": False, "input_names": names}
            torch.onnx.export(network, inputs, **how, dynamic_shapes=shapes).save(str(path))
        else:
            free = {names[index]: found for index, found in axes.items()}
            how = {"dynamo": False, "opset_version": 17, "input_names": names}
            torch.onnx.export(network, inputs, str(path), **how, dynamic_axes=free or None)


def equality(source: Path, target: Path, seeds: int) -> float:
    """The largest max|a - b| / max|a| over what the export itself can run."""
    one, two = simplify.session(source, optimize=False), simplify.session(target, optimize=False)
    worst, ran = 0.0, 0
    for which, sizes in enumerate(SIZES):
        for seed in range(seeds):
            fed = _feeds(one, seed, sizes, which)
            try:
                expected = one.run(None, fed)
            except Exception:  # the dynamo exporter promises sizes that the file cannot take
                continue
            ran += 1
            for a, b in zip(expected, two.run(None, fed), strict=True):
                worst = max(worst, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)))
    return worst if ran else float("nan")


def _feeds(runner: Any, seed: int, sizes: dict[str, int], which: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    fed, chosen = {}, dict(sizes)
    for info in runner.get_inputs():
        large = {2: (7, 12), 4: (64, 96)}.get(len(info.shape), (7, 12))[which]
        if "float" in info.type and len(info.shape) == 2:
            large = (400, 611)[which]
        size = [
            dim if isinstance(dim, int) else chosen.setdefault(dim, (2, 3)[which] if axis == 0 else large)
            for axis, dim in enumerate(info.shape)
        ]
        floats = "float" in info.type
        fed[info.name] = rng.standard_normal(size).astype(np.float32) if floats else rng.integers(0, 100, size)
    return fed


def main() -> None:
    """Print one line an export: nodes before, ours, each peer's, and the largest difference of ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help="parts of names; all by default")
    parser.add_argument("--peers", help="the Python of an environment with the peers")
    parser.add_argument("--models", default="benchmarks/.models", help="where exports are kept")
    parser.add_argument("--torchvision", help="a folder with torchvision installed by --no-deps --target")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--timeout", type=float, default=60)
    args = parser.parse_args()
    folder = Path(args.models) / "exports"
    (folder / "out").mkdir(parents=True, exist_ok=True)
    tools = [tool for tool in simplify.TOOLS if tool == "ours" or args.peers is not None]
    print(f"{'network':34s} {'exporter':12s}", *(f"{name:>16s}" for name in ["in", *tools]), "  difference of ours")
    for name, exporter, source in exports(args, folder):
        left: list[str] = []
        for tool in tools:
            target = folder / "out" / f"{source.stem}.{tool.split()[0]}.onnx"
            python = sys.executable if tool == "ours" else args.peers
            result = simplify.run_tool(python, tool, source.resolve(), target, None, args.timeout)
            left.append("fails" if "error" in result else str(_count(target)))
            if tool == "ours" and "error" in result:
                print(f"{name}, {exporter}: {result['error']}")
        ours = folder / "out" / f"{source.stem}.ours.onnx"
        gap = f"{equality(source, ours, args.seeds):.1e}" if left[0].isdigit() else "-"
        print(f"{name:34s} {exporter:12s}", *(f"{n:>16s}" for n in [str(_count(source)), *left]), f"  {gap}", flush=True)


def _count(path: Path) -> int:
    return sum(1 for _ in ir.load(str(path.resolve())).graph.all_nodes())


if __name__ == "__main__":
    main()
