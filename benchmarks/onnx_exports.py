"""Six small nets, trained on Fashion-MNIST for a few minutes and exported to ONNX by PyTorch.

    python benchmarks/onnx_exports.py FOLDER --fashion-mnist DIR [--only NAME] [--seconds N]

A Python with torch, onnx, onnxscript, numpy and Pillow runs it. FOLDER gets NAME.onnx and NAME.npz
of each net, with the arrays "calibration" and "test". Pictures are garments of Fashion-MNIST,
tinted (ResNet-18) or placed on a noisy background of 64x64 pixels (U-Net, detector). The recurrent
nets and the transformer read a garment as 28 rows. The nets are far smaller than their namesakes.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- its usual name

_CLASSES, _SCENE, _BATCH = 10, 64, 64
_CALIBRATED, _TESTED = 200, 256


def conv(before: int, after: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution with batch normalization and ReLU."""
    layer = nn.Conv2d(before, after, size, stride, size // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(after), nn.ReLU())


class Residual(nn.Module):
    """The basic block of ResNet."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.body = nn.Sequential(conv(before, after, 3, stride), second, nn.BatchNorm2d(after))
        short = nn.Conv2d(before, after, 1, stride, bias=False)
        is_same = before == after
        self.short = nn.Identity() if is_same else nn.Sequential(short, nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both branches."""
        return F.relu(self.body(x) + self.short(x))


def resnet18() -> nn.Module:
    """Eight blocks of 16 to 128 channels, a quarter of ResNet-18's."""
    blocks: list[nn.Module] = [conv(3, 16, 7, 2), nn.MaxPool2d(3, 2, 1)]
    before = 16
    for place, width in enumerate((16, 32, 64, 128)):
        blocks += [Residual(before, width, 2 if place else 1), Residual(width, width, 1)]
        before = width
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, _CLASSES))


class UNet(nn.Module):
    """Three levels; class scores of each pixel, 0 is the background."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv(3, 16), conv(16, 32), conv(32, 64)])
        self.up = nn.ModuleList([conv(96, 32), conv(48, 16)])
        self.grow = nn.ConvTranspose2d(64, 64, 2, 2)
        self.head = nn.Conv2d(16, _CLASSES + 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores [batch, classes, height, width]."""
        first = self.down[0](x)
        second = self.down[1](F.max_pool2d(first, 2))
        third = self.down[2](F.max_pool2d(second, 2))
        joined = self.up[0](torch.cat([self.grow(third), second], 1))
        large = F.interpolate(joined, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.head(self.up[1](torch.cat([large, first], 1)))


class Detector(nn.Module):
    """A YOLO-like head on two grids: boxes in pixels and scores in one tensor [batch, 14, 80]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv(3, 16, 3, 2), conv(16, 32, 3, 2), conv(32, 64, 3, 2), conv(64, 64), conv(64, 64)
        )
        self.more = nn.Sequential(conv(64, 96, 3, 2), conv(96, 96))
        self.heads = nn.ModuleList([nn.Conv2d(width, 4 + _CLASSES, 1) for width in (64, 96)])
        places, steps = [], []
        for size in (8, 4):
            rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
            places.append(torch.stack([columns, rows]).reshape(2, -1) + 0.5)
            steps.append(torch.full((1, size * size), _SCENE / size))
        self.register_buffer("places", torch.cat(places, 1)[None])
        self.register_buffer("steps", torch.cat(steps, 1)[None])

    def forward(self, x: Tensor) -> Tensor:
        """Return centre x, centre y, width and height in pixels, then a score for each class."""
        fine = self.stem(x)
        maps = [fine, self.more(fine)]
        pairs = zip(self.heads, maps, strict=True)
        found = torch.cat([head(item).flatten(2) for head, item in pairs], 2)
        offset, size, scores = found.split((2, 2, _CLASSES), 1)
        centre = (self.places + offset.sigmoid() * 2 - 1) * self.steps
        extent = (size.sigmoid() * 2) ** 2 * self.steps * 2
        return torch.cat([centre, extent, scores.sigmoid()], 1)


class Recurrent(nn.Module):
    """A recurrent layer over the rows, and a dense layer on its last outputs."""

    def __init__(self, layer: nn.Module, width: int):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores."""
        return self.head(self.layer(x)[0].mean(1))


class Encoder(nn.Module):
    """Two layers of nn.TransformerEncoder over the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(28, 64)
        self.position = nn.Parameter(torch.randn(1, 28, 64) * 0.02)
        layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, "gelu", batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores."""
        return self.head(self.body(self.embed(x) + self.position).mean(1))


# ---------------------------------------------------------------- data


class Garments:
    """Samples from one part of Fashion-MNIST.

    Args:
        folder: with the four gzipped files.
        part: "train" or "t10k".
    """

    def __init__(self, folder: Path, part: str, seed: int):
        pixels = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
        self._pictures = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28) / 255
        self._labels = np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)
        self._random = np.random.default_rng(seed)

    def _draw(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self._random.integers(len(self._labels), size=count)
        return self._pictures[chosen].astype(np.float32), self._labels[chosen]

    def rows(self, count: int) -> tuple[Tensor, Tensor]:
        """Return pictures as sequences [count, 28, 28], and classes."""
        pictures, labels = self._draw(count)
        return torch.from_numpy((pictures - 0.286) / 0.353), torch.from_numpy(labels)

    def tinted(self, count: int) -> tuple[Tensor, Tensor]:
        """Return colour pictures [count, 3, 64, 64], and classes."""
        pictures, labels = self._draw(count)
        large = np.kron(pictures, np.ones((2, 2), np.float32))
        large = np.pad(large, ((0, 0), (4, 4), (4, 4)))[:, np.newaxis]
        tint = self._random.uniform(0.3, 1, (count, 3, 1, 1))
        light = self._random.uniform(-0.3, 0.3, (count, 3, 1, 1))
        return torch.from_numpy((large * tint + light).astype(np.float32)), torch.from_numpy(labels)

    def scenes(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return scenes [count, 3, 64, 64], the class of each pixel, and [count, 5] boxes.

        A box is centre x, centre y, width and height in pixels, and the class.
        """
        pictures, labels = self._draw(count)
        slope = np.linspace(-1, 1, _SCENE, dtype=np.float32)
        tilt = self._random.uniform(-0.3, 0.3, (2, count, 3, 1, 1))
        scenes = tilt[0] * slope + tilt[1] * slope[:, np.newaxis]
        scenes = scenes + self._random.normal(0, 0.05, (count, 3, _SCENE, _SCENE)) + 0.3
        masks = np.zeros((count, _SCENE, _SCENE), np.int64)
        boxes = np.zeros((count, 5), np.float32)
        for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            top, left = self._random.integers(_SCENE - 28, size=2)
            part = (slice(top, top + 28), slice(left, left + 28))
            shown = picture > 0.1
            tint = self._random.uniform(0.5, 1, (3, 1, 1))
            scenes[(i, slice(None), *part)] = np.where(
                shown, picture * tint, scenes[(i, slice(None), *part)]
            )
            masks[(i, *part)] = shown * (label + 1)
            rows, columns = np.nonzero(shown)
            low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
            centre = [(a + b) / 2 + c for a, b, c in zip(low, high, (left, top), strict=True)]
            boxes[i] = [*centre, high[0] - low[0], high[1] - low[1], label]
        return (
            torch.from_numpy(scenes.astype(np.float32)),
            torch.from_numpy(masks),
            torch.from_numpy(boxes),
        )


# ---------------------------------------------------------------- training


def detection_loss(found: Tensor, boxes: Tensor) -> Tensor:
    """Return the loss at the two cells that hold the centre, and of all other scores."""
    target = torch.zeros_like(found[:, 4:])
    loss = torch.zeros(())
    sample = torch.arange(len(boxes))
    for size, first in ((8, 0), (4, 64)):
        cell = (boxes[:, :2] * size / _SCENE).long().clamp(0, size - 1)
        place = first + cell[:, 1] * size + cell[:, 0]
        target[sample, boxes[:, 4].long(), place] = 1
        loss = loss + F.smooth_l1_loss(found[sample, :4, place], boxes[:, :4]) / 4
    scores = found[:, 4:].clamp(1e-6, 1 - 1e-6)
    return loss + F.binary_cross_entropy(scores, target) * 400


@dataclass(frozen=True)
class Net:
    """A net and how it is trained.

    Attributes:
        build: makes it.
        draw: samples and what `loss` needs.
        loss: of outputs and what `draw` gave beside the samples.
        score: a rough measure of quality, for the log.
    """

    build: Callable[[], nn.Module]
    draw: Callable[[Garments, int], tuple[Tensor, ...]]
    loss: Callable[[Tensor, tuple[Tensor, ...]], Tensor]
    score: Callable[[Tensor, tuple[Tensor, ...]], Tensor]


def _right(found: Tensor, labels: tuple[Tensor, ...]) -> Tensor:
    return (found.argmax(1) == labels[0]).float().mean()


def _classifier(build: Callable[[], nn.Module], draw: str) -> Net:
    return Net(
        build,
        lambda source, count: getattr(source, draw)(count),
        lambda found, labels: F.cross_entropy(found, labels[0]),
        _right,
    )


def _detected(found: Tensor, labels: tuple[Tensor, ...]) -> Tensor:
    best = found[:, 4:].amax(2).argmax(1)
    return (best == labels[1][:, 4].long()).float().mean()


NETS = {
    "resnet18": _classifier(resnet18, "tinted"),
    "unet": Net(
        UNet, Garments.scenes, lambda found, given: F.cross_entropy(found, given[0]), _right
    ),
    "bilstm": _classifier(
        lambda: Recurrent(nn.LSTM(28, 32, batch_first=True, bidirectional=True), 64), "rows"
    ),
    "gru": _classifier(lambda: Recurrent(nn.GRU(28, 48, batch_first=True), 48), "rows"),
    "encoder": _classifier(Encoder, "rows"),
    "detector": Net(
        Detector, Garments.scenes, lambda found, given: detection_loss(found, given[1]), _detected
    ),
}


def train(net: Net, source: Garments, seconds: float) -> nn.Module:
    """Train for this time with Adam; the rate falls to zero."""
    model = net.build().train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    began, share = time.perf_counter(), 0.0
    while share < 1:
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - share)
        inputs, *given = net.draw(source, _BATCH)
        optimizer.zero_grad()
        net.loss(model(inputs), tuple(given)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        share = (time.perf_counter() - began) / seconds
    return model.eval()


def main() -> None:
    """Train and export the nets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fashion-mnist", type=Path, required=True, metavar="DIR")
    parser.add_argument("--only", default="", help="nets whose name contains this")
    parser.add_argument("--seconds", type=float, default=90, help="of training, for each net")
    given = parser.parse_args()
    for name, net in NETS.items():
        if given.only not in name or (given.folder / f"{name}.onnx").exists():
            continue
        torch.manual_seed(0)
        model = train(net, Garments(given.fashion_mnist, "train", 0), given.seconds)
        inputs = net.draw(Garments(given.fashion_mnist, "train", 1), _CALIBRATED)[0]
        tested, *labels = net.draw(Garments(given.fashion_mnist, "t10k", 2), _TESTED)
        with torch.no_grad():
            score = float(net.score(model(tested), tuple(labels)))
        np.savez(given.folder / f"{name}.npz", calibration=inputs.numpy(), test=tested.numpy())
        made = torch.onnx.export(model, (tested[:1],), input_names=["x"], dynamo=True)
        made.save(given.folder / f"{name}.onnx")
        print(f"{name}: {score:.1%} right on {_TESTED} test samples", flush=True)


if __name__ == "__main__":
    main()
