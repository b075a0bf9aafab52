"""Networks of PyTorch as `.pt2` files: `python torch_nets.py PICTURES.npz FOLDER NAME...`.

It needs torch and torchvision, and nothing of edgeq. Nothing is downloaded: weights are random
from a seed, as in `families.py`, and the statistics of batch normalization are measured on the
pictures. NAME.npz beside a program holds its weights by their names in PyTorch, and its outputs
for the pictures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import nn
from torch.utils._pytree import tree_leaves

CLASSES = 100
_MEASURED = 32  # pictures for the statistics

SEGMENTERS = ("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")


class Recurrent(nn.Module):
    """A recurrent layer and a dense layer behind its last step."""

    def __init__(self, kind: str, **settings: Any) -> None:
        super().__init__()
        self.is_first = settings.get("batch_first", False)
        self.recurrent = getattr(nn, kind)(28, 48, **settings)
        self.head = nn.Linear(96 if settings.get("bidirectional") else 48, 10)

    def forward(self, rows: Any) -> Any:
        """Take rows [n, 28, 28] and return [n, 10]."""
        steps, _ = self.recurrent(rows if self.is_first else rows.transpose(0, 1))
        return self.head(steps[:, -1] if self.is_first else steps[-1])


class Encoder(nn.Module):
    """Two layers of attention over the rows of a picture; "masked": each sees those above it."""

    def __init__(self, *, masked: bool) -> None:
        super().__init__()
        self.entry = nn.Linear(28, 64)
        self.place = nn.Parameter(torch.randn(1, 28, 64) * 0.3)
        layer = nn.TransformerEncoderLayer(64, 4, 128, 0.1, "gelu", batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(64, 10)
        self.masked = masked

    def forward(self, rows: Any) -> Any:
        """Take rows [n, 28, 28] and return [n, 10]."""
        mask = nn.Transformer.generate_square_subsequent_mask(28) if self.masked else None
        value = self.entry(rows) + self.place
        return self.head(self.blocks(value, mask=mask, is_causal=self.masked).mean(1))


def _convolution(into: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU())


class UNet(nn.Module):
    """Three scales, transposed convolutions up; a mask, and the mean of each class in it."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([_convolution(3, 16), _convolution(16, 32)])
        self.bottom = _convolution(32, 64)
        widths = (64, 32), (32, 16)
        self.up = nn.ModuleList([nn.ConvTranspose2d(*pair, 2, 2) for pair in widths])
        self.side = nn.ModuleList([_convolution(64, 32), _convolution(32, 16)])
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, image: Any) -> Any:
        """Take pictures [n, 3, size, size]."""
        kept, value = [], image
        for block in self.down:
            kept.append(block(value))
            value = nn.functional.max_pool2d(kept[-1], 2)
        value = self.bottom(value)
        for up, side, skipped in zip(self.up, self.side, reversed(kept), strict=True):
            value = side(torch.cat([skipped, up(value)], 1))
        mask = self.head(value)
        return mask, mask.mean((2, 3))


class ResNet(nn.Module):
    """Two residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = _convolution(3, 16)
        self.inner = nn.ModuleList([_convolution(16, 16), _convolution(16, 16)])
        self.outer = nn.ModuleList([nn.Conv2d(16, 16, 3, padding=1) for _ in range(2)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(16) for _ in range(2)])
        self.head = nn.Linear(16, 10)

    def forward(self, image: Any) -> Any:
        """Take pictures [n, 3, size, size]."""
        value = nn.functional.max_pool2d(self.entry(image), 2)
        for inner, outer, norm in zip(self.inner, self.outer, self.norms, strict=True):
            value = torch.relu(value + norm(outer(inner(value))))
        return self.head(value.mean((2, 3)))


# Whether a network takes pictures [n, 3, size, size] or rows [n, 28, 28].
PICTURES, ROWS = "pictures", "rows"
NETS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "resnet": (PICTURES, ResNet),
    "unet": (PICTURES, UNet),
    "gru": (ROWS, lambda: Recurrent("GRU", batch_first=True)),
    "gru_steps_first": (ROWS, lambda: Recurrent("GRU")),
    "gru_both_ways": (ROWS, lambda: Recurrent("GRU", batch_first=True, bidirectional=True)),
    "lstm": (ROWS, lambda: Recurrent("LSTM", batch_first=True)),
    "lstm_steps_first": (ROWS, lambda: Recurrent("LSTM")),
    "lstm_two_layers_both_ways": (
        ROWS,
        lambda: Recurrent("LSTM", batch_first=True, bidirectional=True, num_layers=2),
    ),
    "encoder": (ROWS, lambda: Encoder(masked=False)),
    "causal_encoder": (ROWS, lambda: Encoder(masked=True)),
}


def build(name: str) -> tuple[nn.Module, str]:
    """Make a network with random weights, and what it takes: `PICTURES` or `ROWS`."""
    torch.manual_seed(0)
    if name in NETS:
        kind, make = NETS[name]
        return make(), kind
    options: dict[str, Any] = {"weights": None, "num_classes": CLASSES}
    if name in SEGMENTERS:
        options |= {"weights_backbone": None, "num_classes": 21}
    if name == "googlenet":
        options |= {"init_weights": True, "aux_logits": False}
    return torchvision.models.get_model(name, **options), PICTURES


def vary(model: nn.Module, samples: torch.Tensor) -> None:
    """Give vectors of weights random values, and batch normalizations their inputs' statistics."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5)
            part.momentum = 1.0  # the last batch alone
        for name, weight in part.named_parameters(recurse=False):
            if name == "bias":
                weight.data.normal_(0, 0.1)
    model.eval()
    for part in model.modules():
        part.training = isinstance(part, nn.BatchNorm2d)
    with torch.no_grad():
        model(samples)
    model.eval()


def main(pictures: Path, folder: Path, names: list[str]) -> None:
    """Write NAME.pt2 and NAME.npz for each name."""
    inputs = np.load(pictures)
    for name in names:
        model, kind = build(name)
        samples = torch.from_numpy(inputs[kind][-_MEASURED:])
        vary(model, samples)
        torch.export.save(torch.export.export(model, (samples[:1],)), folder / f"{name}.pt2")
        with torch.no_grad():
            outputs = tree_leaves(model(samples))
        arrays = {key: value.numpy() for key, value in model.state_dict().items()}
        arrays |= {f"output_{number}": value.numpy() for number, value in enumerate(outputs)}
        np.savez(folder / f"{name}.npz", **arrays)
        print(name, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
