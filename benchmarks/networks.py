"""Small networks as people write them in PyTorch: recurrent, attending, detecting, and what lies between.

Widths are small, since a simplifier looks at the graph: layers, views, shape arithmetic, masks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

#: By input: the axes that are free, with their names.
Axes = dict[int, dict[int, str]]


class Recurrent(nn.Module):
    """Embedding, recurrent layers, a classifier on the last step."""

    def __init__(self, kind: type[nn.RNNBase], *, bidirectional: bool = False, batch_first: bool = True) -> None:
        super().__init__()
        self.words = nn.Embedding(100, 16)
        self.layers = kind(16, 24, num_layers=2, batch_first=batch_first, bidirectional=bidirectional)
        self.head = nn.Linear(48 if bidirectional else 24, 5)
        self.batch_first = batch_first

    def forward(self, ids: Tensor) -> Tensor:
        steps, _ = self.layers(self.words(ids))
        return self.head(steps[:, -1] if self.batch_first else steps[-1])


class EveryStep(nn.Module):
    """A bidirectional GRU whose every step is classified, as for speech."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.GRU(16, 24, num_layers=2, bidirectional=True), nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x)[0]).log_softmax(-1)


class Stateful(nn.Module):
    """An LSTM whose state is fed and returned."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.LSTM(16, 24, num_layers=2)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        steps, (h, c) = self.layers(x, (h, c))
        return steps, h, c


class Encoder(nn.Module):
    """torch.nn.TransformerEncoder with a padding mask."""

    def __init__(self, *, norm_first: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=norm_first)
        self.words, self.head = nn.Embedding(100, 32), nn.Linear(32, 5)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.layers(self.words(ids), src_key_padding_mask=ids == 0).mean(1))


class Decoder(nn.Module):
    """Causal attention with packed projections."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(100, 32), nn.Embedding(64, 32)
        self.packed = nn.ModuleList(nn.Linear(32, 96) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(32, 32) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(2))
        self.head = nn.Linear(32, 100, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        batch, length = ids.shape
        x = self.words(ids) + self.places(torch.arange(length))
        for packed, out, norm in zip(self.packed, self.out, self.norms, strict=True):
            q, k, v = (part.view(batch, length, 4, 8).transpose(1, 2) for part in packed(norm(x)).chunk(3, -1))
            scores = (q @ k.transpose(-2, -1)) * 8**-0.5
            seen = torch.tril(torch.ones(length, length)).view(1, 1, length, length)
            weights = scores.masked_fill(seen == 0, float("-inf")).softmax(-1)
            x = x + out((weights @ v).transpose(1, 2).contiguous().view(batch, length, 32))
        return self.head(x)


class Attention(nn.Module):
    """scaled_dot_product_attention between four linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(32, 32) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (layer(x).view(batch, -1, 4, 8).transpose(1, 2) for layer in (self.q, self.k, self.v))
        return self.o(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width))


class Detector(nn.Module):
    """Two scales, anchors made for the image at hand, boxes from distributions of distances."""

    def __init__(self) -> None:
        super().__init__()
        block = [nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.SiLU()]
        more = [nn.Conv2d(16, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.SiLU()]
        self.body, self.down = nn.Sequential(*block, *more), nn.Conv2d(16, 32, 3, 2, 1)
        self.heads = nn.ModuleList([nn.Conv2d(16, 68, 1), nn.Conv2d(32, 68, 1)])

    def forward(self, image: Tensor) -> Tensor:
        fine = self.body(image)
        flat, anchors, strides = [], [], []
        for level, (features, head) in enumerate(zip((fine, self.down(fine)), self.heads, strict=True)):
            found = head(features)
            _, _, height, width = found.shape
            flat.append(found.view(found.shape[0], 68, -1))
            y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
            anchors.append(torch.stack((x, y), -1).view(-1, 2))
            strides.append(torch.full((height * width, 1), 4.0 * 2**level))
        places, scales = torch.cat(anchors).transpose(0, 1), torch.cat(strides).transpose(0, 1)
        boxes, classes = torch.cat(flat, 2).split((64, 4), 1)
        bins = boxes.view(boxes.shape[0], 4, 16, boxes.shape[2]).transpose(2, 1).softmax(1)
        near, far = (bins * torch.arange(16.0).view(1, 16, 1, 1)).sum(1).chunk(2, 1)
        low, high = places.unsqueeze(0) - near, places.unsqueeze(0) + far
        return torch.cat((torch.cat(((low + high) / 2, high - low), 1) * scales, classes.sigmoid()), 1)


class Segmenter(nn.Module):
    """Down and up again, with resizing where the sizes do not fit."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.down = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, 2, 1)
        self.up, self.norm, self.head = nn.ConvTranspose2d(16, 8, 2, 2), nn.BatchNorm2d(8), nn.Conv2d(16, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        wide = functional.relu(self.enter(image))
        deep = functional.relu(self.down(wide))
        up = functional.relu(self.norm(self.up(deep)))
        if up.shape != wide.shape:
            up = functional.interpolate(up, size=wide.shape[-2:], mode="bilinear")
        near = functional.interpolate(deep, size=wide.shape[2:], mode="nearest")[:, :8]
        return self.head(torch.cat((wide, up + near), 1))


class Shuffler(nn.Module):
    """Channel shuffle, pixel shuffle, group normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up, self.norm = nn.Conv2d(8, 32, 3, padding=1, groups=2), nn.PixelShuffle(2), nn.GroupNorm(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        batch, channels, height, width = y.shape
        mixed = y.view(batch, 4, channels // 4, height, width).transpose(1, 2).reshape(batch, channels, height, width)
        return functional.gelu(self.norm(self.up(mixed)))


class Temporal(nn.Module):
    """Causal convolutions with weight normalisation."""

    def __init__(self) -> None:
        super().__init__()
        normed = nn.utils.parametrizations.weight_norm
        self.convs = nn.ModuleList(normed(nn.Conv1d(8, 8, 3, dilation=2**i)) for i in range(3))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        for index, conv in enumerate(self.convs):
            x = x + functional.leaky_relu(conv(functional.pad(x, (2 ** (index + 1), 0))))
        return self.head(x.transpose(1, 2))


class Windowed(nn.Module):
    """Attention within shifted windows."""

    def __init__(self) -> None:
        super().__init__()
        self.packed, self.out, self.norm = nn.Linear(16, 48), nn.Linear(16, 16), nn.LayerNorm(16)
        self.places = nn.Parameter(torch.randn(1, 2, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        rolled = torch.roll(self.norm(x), (-2, -2), (1, 2))
        tiles = rolled.view(batch, height // 4, 4, width // 4, 4, channels).permute(0, 1, 3, 2, 4, 5)
        windows = tiles.reshape(-1, 16, channels)
        count = windows.shape[0]
        q, k, v = self.packed(windows).reshape(count, 16, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        weights = ((q * 8**-0.5) @ k.transpose(-2, -1) + self.places).softmax(-1)
        mixed = self.out((weights @ v).transpose(1, 2).reshape(count, 16, channels))
        whole = mixed.view(-1, height // 4, width // 4, 4, 4, channels).permute(0, 1, 3, 2, 4, 5)
        return x + torch.roll(whole.reshape(batch, height, width, channels), (2, 2), (1, 2))


class Spectral(nn.Module):
    """A spectrum by convolution, mel bands, normalised over time."""

    def __init__(self) -> None:
        super().__init__()
        self.transform, self.bands = nn.Conv1d(1, 66, 64, 16, bias=False), nn.Linear(33, 10)

    def forward(self, samples: Tensor) -> Tensor:
        found = self.transform(functional.pad(samples.unsqueeze(1), (32, 32), mode="reflect"))
        power = (found[:, :33] ** 2 + found[:, 33:] ** 2).sqrt().transpose(1, 2)
        loud = torch.log(torch.clamp(self.bands(power).abs(), min=1e-5))
        return (loud - loud.mean(1, keepdim=True)) / (loud.std(1, keepdim=True) + 1e-5)


def networks() -> dict[str, tuple[nn.Module, tuple[Tensor, ...], Axes]]:
    """Each network with arguments and the axes that are free; without, its export is of fixed shapes."""
    ids, image = torch.randint(0, 100, (2, 7)), torch.randn(1, 3, 64, 64)
    words: Axes = {0: {0: "batch", 1: "length"}}
    pixels: Axes = {0: {0: "batch", 2: "height", 3: "width"}}
    state = torch.zeros(2, 2, 24)
    steps: Axes = {0: {0: "time", 1: "batch"}}
    return {
        "LSTM": (Recurrent(nn.LSTM), (ids,), words),
        "LSTM, fixed": (Recurrent(nn.LSTM), (ids,), {}),
        "LSTM, state fed": (
            Stateful(),
            (torch.randn(9, 2, 16), state, state.clone()),
            {**steps, 1: {1: "batch"}, 2: {1: "batch"}},
        ),
        "GRU": (Recurrent(nn.GRU), (ids,), words),
        "LSTM, both ways": (Recurrent(nn.LSTM, bidirectional=True), (ids,), words),
        "GRU, both ways, every step": (EveryStep(), (torch.randn(9, 2, 16),), steps),
        "RNN, time first": (Recurrent(nn.RNN, batch_first=False), (ids,), {0: {0: "length", 1: "batch"}}),
        "TransformerEncoder": (Encoder(), (ids,), words),
        "TransformerEncoder, norm first": (Encoder(norm_first=True), (ids,), words),
        "TransformerEncoder, fixed": (Encoder(), (ids,), {}),
        "causal decoder": (Decoder(), (ids,), words),
        "causal decoder, fixed": (Decoder(), (ids,), {}),
        "attention": (Attention(), (torch.randn(2, 7, 32),), words),
        "detector": (Detector(), (image,), pixels),
        "detector, batch free": (Detector(), (image,), {0: {0: "batch"}}),
        "detector, fixed": (Detector(), (image,), {}),
        "segmenter": (Segmenter(), (image,), pixels),
        "shuffles": (Shuffler(), (torch.randn(1, 8, 6, 6),), pixels),
        "causal convolutions": (Temporal(), (torch.randn(2, 8, 30),), {0: {0: "batch", 2: "time"}}),
        "shifted windows": (Windowed(), (torch.randn(2, 8, 8, 16),), {0: {0: "batch"}}),
        "spectrum": (Spectral(), (torch.randn(2, 400),), {0: {0: "batch", 1: "samples"}}),
    }
