"""A detector made from nothing but a seed: drawn pictures, a small FCOS, its exports, and a manifest for ``reach.py``.

    python benchmarks/detector.py FOLDER                     # trains on one core for --seconds (420)
    python benchmarks/reach.py FOLDER/manifest.json OUT.jsonl --judges benchmarks/judging/drawn_boxes.py

Discs, squares, triangles, crosses and rings of any color and angle lie on textures; their boxes are known, so that what a
compressed detector finds is held to the truth and not to its original alone. Two files of the same weights: ``fcos_decoded``
gives corners in pixels and a score a class, ``fcos_raw`` what the head says of each level, as mobile runtimes are fed. It
wants torch, and the judge ``pip install pycocotools``.

Tian, Shen, Chen, He: FCOS: Fully Convolutional One-Stage Object Detection, 2019; focal loss: Lin et al., 2017.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional

SIZE, CLASSES = 160, ("disc", "square", "triangle", "cross", "ring")
#: Pixels between the cells of each level, and up to which longer side of its box a shape is found there.
STRIDES, LEVEL_SIDES = (8, 16), (44.0, math.inf)
FIT, CONFIRM = 96, 160
#: The files: whether corners come out, and the names of what does.
FORMS = {
    "fcos_decoded": (True, ("boxes", "scores")),
    "fcos_raw": (False, tuple(f"{what}_{stride}" for what in ("classes", "distances") for stride in STRIDES)),
}
_MOST_SHAPES, _MAX_OVERLAP = 5, 0.1
_BATCH, _LEARNING_RATE = 16, 2e-3

Boxes = np.ndarray


def draw_texture(rng: np.random.Generator) -> np.ndarray:
    """A background: blurred noise and a grating in two colors, (SIZE, SIZE, 3) in 0 … 255."""
    coarse = rng.random((int(rng.integers(3, 24)),) * 2)
    noise = np.asarray(Image.fromarray(np.float32(coarse)).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 40)
    grating = 0.5 + 0.5 * np.sin(2 * np.pi * (rows * np.sin(angle) + columns * np.cos(angle)) / period)
    mixed = np.clip(noise + rng.uniform(0, 0.6) * (grating - 0.5), 0, 1)[..., None]
    first, second = rng.uniform(0, 255, (2, 3))
    return np.asarray(first + mixed * (second - first))


def draw_mask(rng: np.random.Generator, kind: int, side: float, center: np.ndarray) -> np.ndarray:
    """A shape of class ``kind``, turned at random: bool (SIZE, SIZE)."""
    image = Image.new("1", (SIZE, SIZE))
    draw, radius, turn = ImageDraw.Draw(image), side / 2, rng.uniform(0, 2 * np.pi)
    corners = [tuple(center - radius), tuple(center + radius)]
    if CLASSES[kind] == "disc":
        draw.ellipse(corners, fill=1)
    elif CLASSES[kind] == "ring":
        draw.ellipse(corners, outline=1, width=max(3, round(radius / 3)))
    elif CLASSES[kind] == "cross":
        for angle in (turn, turn + np.pi / 2):
            arm = radius * np.array([np.cos(angle), np.sin(angle)])
            draw.line([tuple(center - arm), tuple(center + arm)], fill=1, width=max(3, round(radius / 2)))
    else:
        count = 3 if CLASSES[kind] == "triangle" else 4
        angles = turn + 2 * np.pi * np.arange(count) / count
        draw.polygon([tuple(center + radius * np.array([np.cos(a), np.sin(a)])) for a in angles], fill=1)
    return np.asarray(image)


def draw_picture(rng: np.random.Generator) -> tuple[np.ndarray, Boxes]:
    """A picture, uint8 (3, SIZE, SIZE), and what is in it: float32 (shapes, 5), x1, y1, x2, y2, class."""
    picture, boxes, taken = draw_texture(rng), [], np.zeros((SIZE, SIZE), np.bool_)
    for _ in range(int(rng.integers(1, _MOST_SHAPES + 1))):
        kind, side = int(rng.integers(len(CLASSES))), float(np.exp(rng.uniform(np.log(16), np.log(96))))
        mask = draw_mask(rng, kind, side, rng.uniform(side / 3, SIZE - side / 3, 2))
        if mask.sum() < 40 or (mask & taken).sum() > _MAX_OVERLAP * mask.sum():
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1, kind))
        shade = rng.uniform(0.7, 1.3, (SIZE, SIZE, 1)) if rng.random() < 0.5 else 1.0
        picture, taken = np.where(mask[..., None], rng.uniform(0, 255, 3) * shade, picture), taken | mask
    noisy = picture + rng.uniform(0, 10) * rng.standard_normal(picture.shape, np.float32)
    return np.uint8(np.clip(noisy, 0, 255)).transpose(2, 0, 1), np.array(boxes, np.float32).reshape(-1, 5)


def draw_pictures(count: int, seed: int) -> tuple[np.ndarray, Boxes]:
    """float32 (count, 3, SIZE, SIZE) in 0 … 1, and boxes (count, shapes, 5), filled up with the class -1."""
    drawn = [draw_picture(np.random.default_rng((seed, number))) for number in range(count)]
    boxes = np.full((count, _MOST_SHAPES, 5), -1, np.float32)
    for row, (_, found) in zip(boxes, drawn, strict=True):
        row[: len(found)] = found
    return np.stack([picture for picture, _ in drawn]).astype(np.float32) / np.float32(255), boxes


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3 by 3, normalised, rectified."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    """Two convolutions beside what went in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(width, width), conv(width, width)[:2]

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class Fcos(nn.Module):
    """A residual backbone, two levels that share a head; ``decodes``: whether corners and scores come out, or the head's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 2), conv(16, 32, 2), Residual(32), conv(32, 64, 2), Residual(64))
        self.deep = nn.Sequential(conv(64, 128, 2), Residual(128), Residual(128))
        self.sides = nn.ModuleList([nn.Conv2d(64, 64, 1), nn.Conv2d(128, 64, 1)])
        self.towers = nn.ModuleList(nn.Sequential(conv(64, 64), conv(64, 64)) for _ in range(2))
        self.classes, self.distances = nn.Conv2d(64, len(CLASSES), 3, 1, 1), nn.Conv2d(64, 4, 3, 1, 1)
        nn.init.constant_(self.classes.bias, -math.log(99))  # one in a hundred at first, as of focal loss
        self.decodes = False
        cells = [(np.mgrid[: SIZE // s, : SIZE // s][::-1].reshape(2, -1).T + 0.5) * s for s in STRIDES]
        self.register_buffer("centers", torch.tensor(np.concatenate(cells), dtype=torch.float32))
        strides = np.repeat(STRIDES, [len(each) for each in cells])[:, None]
        self.register_buffer("strides", torch.tensor(strides, dtype=torch.float32))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        fine = self.stem(images)
        coarse = self.sides[1](self.deep(fine))
        levels = [self.sides[0](fine) + functional.interpolate(coarse, scale_factor=2.0), coarse]
        classes = [self.classes(self.towers[0](level)) for level in levels]
        distances = [self.distances(self.towers[1](level)) for level in levels]
        if not self.decodes:
            return *(each.sigmoid() for each in classes), *distances
        return self.decode(distances), flatten(classes).sigmoid()

    def decode(self, distances: list[Tensor]) -> Tensor:
        """Corners in pixels, (n, cells, 4), of the logarithms of distances in strides."""
        left_top, right_bottom = (flatten(distances).exp() * self.strides).chunk(2, -1)
        return torch.cat([self.centers - left_top, self.centers + right_bottom], -1)


def flatten(levels: list[Tensor]) -> Tensor:
    """(n, cells of all levels, channels)."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1)


def assign(boxes: Tensor, net: Fcos) -> tuple[Tensor, Tensor]:
    """The class of every cell, (n, cells), -1 for none, and its box: a cell near the middle of a box of its level's size."""
    corners, classes = boxes[:, None, :, :4], boxes[:, None, :, 4]
    sides = torch.stack([corners[..., 2] - corners[..., 0], corners[..., 3] - corners[..., 1]], -1).amax(-1)
    least = torch.tensor((0.0, *LEVEL_SIDES[:-1]))[(net.strides > STRIDES[0]).long()]
    most = torch.tensor(LEVEL_SIDES)[(net.strides > STRIDES[0]).long()]
    middle = (corners[..., :2] + corners[..., 2:]) / 2
    near = ((net.centers[:, None] - middle).abs() <= 1.5 * net.strides[:, None]).all(-1)
    inside = ((net.centers[:, None] > corners[..., :2]) & (net.centers[:, None] < corners[..., 2:])).all(-1)
    fits = (classes >= 0) & near & inside & (sides > least) & (sides <= most)
    nearest = torch.where(fits, sides, math.inf).min(-1)
    chosen = nearest.indices[..., None]
    kind = torch.where(nearest.values.isinf(), -1.0, classes.expand_as(fits).gather(-1, chosen)[..., 0])
    return kind, boxes[:, :, :4].gather(1, chosen.expand(*chosen.shape[:2], 4))


def compute_loss(net: Fcos, images: Tensor, boxes: Tensor) -> Tensor:
    """Focal loss of the classes and 1 - GIoU of the boxes, a positive cell."""
    *classes, fine, coarse = net(images)
    shares, corners = flatten(classes).clamp(1e-6, 1 - 1e-6), net.decode([fine, coarse])
    kind, truth = assign(boxes, net)
    wanted = functional.one_hot((kind + 1).long(), len(CLASSES) + 1)[..., 1:].float()
    missed = torch.where(wanted > 0, 1 - shares, shares)
    focal = -torch.where(wanted > 0, 0.25, 0.75) * missed**2 * torch.log1p(-missed)
    positive = kind >= 0
    found, true = corners[positive], truth[positive]
    common = (torch.minimum(found[:, 2:], true[:, 2:]) - torch.maximum(found[:, :2], true[:, :2])).clamp(min=0).prod(-1)
    hull = (torch.maximum(found[:, 2:], true[:, 2:]) - torch.minimum(found[:, :2], true[:, :2])).prod(-1)
    union = (found[:, 2:] - found[:, :2]).prod(-1) + (true[:, 2:] - true[:, :2]).prod(-1) - common
    giou = common / union - (hull - union) / hull
    return (focal.sum() + (1 - giou).sum()) / max(1, int(positive.sum()))


def train(seconds: float, seed: int) -> Fcos:
    """A net trained for so long, the rate falling with a cosine."""
    torch.manual_seed(seed)
    net = Fcos().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=_LEARNING_RATE, weight_decay=0.01)
    started, update = time.process_time(), 0
    while (share := (time.process_time() - started) / seconds) < 1:
        images, boxes = map(torch.from_numpy, draw_pictures(_BATCH, seed + 1000 + update))
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * min(1, (update + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * share))
        loss = compute_loss(net, images.contiguous(memory_format=torch.channels_last), boxes)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        if update % 100 == 0:
            print(f"{update} updates, {share:.0%} of the time, loss {loss.item():.3f}", flush=True)
        update += 1
    return net.to(memory_format=torch.contiguous_format).eval()


def export(net: Fcos, path: Path, names: list[str]) -> None:
    """``net`` for any number of images, weights in the file, batch normalisations folded as the exporter does."""
    image = torch.zeros(1, 3, SIZE, SIZE)
    axes = {name: {0: "batch"} for name in ("images", *names)}
    torch.onnx.export(
        net, (image,), path, input_names=["images"], output_names=names, dynamic_axes=axes, opset_version=17, dynamo=False
    )
    onnx.checker.check_model(str(path), full_check=True)


def main() -> None:
    """Train, export, and write data and manifest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=420.0, help="of training, in processor time")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    net = train(given.seconds, given.seed)
    for name, (net.decodes, names) in FORMS.items():
        export(net, folder / f"{name}.onnx", list(names))
    for use, count, seed in (("fit", FIT, 1), ("confirm", CONFIRM, 2)):
        images, boxes = draw_pictures(count, given.seed + seed)
        np.savez(folder / f"{use}.npz", images=images)
        np.savez(folder / f"{use}.drawn.npz", labels=boxes)
    entry = {"kind": "detector", "natural": f"drawn:{folder / 'confirm.drawn.npz'}", "flags": []}
    data = {"fit": "fit.npz", "confirm": "confirm.npz"}
    entries = [{"name": name, "model": f"{name}.onnx", **data, **entry} for name in FORMS]
    (folder / "manifest.json").write_text(json.dumps(entries, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
