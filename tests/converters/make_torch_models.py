"""Small models saved by PyTorch: `python make_torch_models.py FOLDER`, run by a Python with torch.

It knows nothing of edgeq or pytest, which that Python need not have.
"""

from __future__ import annotations

import json
import pickle
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.ReLU6(),
            nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.BatchNorm2d(32), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(32, 10)

    def forward(self, image: Any) -> Any:
        return self.head(self.features(image).mean((2, 3)))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 4)
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image: Any, *, ids: Any) -> Any:
        mixed = self.convolution(image) + self.embedding(ids).mean(1)[:, :, None, None]
        return {"map": mixed, "best": mixed.amax((2, 3))}


class Recurrent(nn.Module):
    """Two LSTMs that one operator for each layer and direction can compute, and two others."""

    def __init__(self) -> None:
        super().__init__()
        self.both_ways = nn.LSTM(6, 5, num_layers=2, bidirectional=True)
        self.without_bias = nn.LSTM(10, 4, bias=False, batch_first=True)
        self.with_cell_state = nn.LSTM(4, 4, batch_first=True)
        self.gru = nn.GRU(4, 4, batch_first=True)

    def forward(self, rows: Any) -> Any:
        steps, (last, _) = self.both_ways(rows.transpose(0, 1))
        steps, _ = self.without_bias(steps.transpose(0, 1))
        steps, (_, cells) = self.with_cell_state(steps)
        return self.gru(steps)[0][:, -1], cells[0] + last.sum(0)[:, :4]


class Counter(nn.Module):
    """It counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, input: Any) -> Any:
        self.calls.add_(1)
        return input * self.calls


class Few(nn.Module):
    """A single number, and nothing, as outputs."""

    def forward(self, input: Any) -> Any:
        return input.mean(), None, input.amax(1)


class Dropping(nn.Module):
    """A dropout of a kind that depends on `training`."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.lstm = nn.LSTM(4, 4, num_layers=2, dropout=0.5, batch_first=True)

    def forward(self, input: Any) -> Any:
        if self.kind == "lstm":
            return self.lstm(input)[0]
        if self.kind == "attention":
            return nn.functional.scaled_dot_product_attention(input, input, input, dropout_p=0.5)
        return nn.functional.dropout1d(input, 0.5, self.training)


class Svd(nn.Module):
    def forward(self, input: Any) -> Any:
        return torch.linalg.svdvals(input)


class Inside(nn.Module):
    """float32 outside, float64 inside."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2).double()

    def forward(self, input: Any) -> Any:
        return self.linear(input.double()).float()


class Hostile:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path):
        self.marker = str(marker)

    def __reduce__(self) -> Any:
        return (open, (self.marker, "w"))


def save(path: Path, model: nn.Module, *args: Any, **settings: Any) -> None:
    torch.export.save(torch.export.export(model, args, **settings), path)


def main(folder: Path) -> None:
    torch.manual_seed(0)
    cnn, image = Cnn(), torch.randn(8, 3, 32, 32)
    for _ in range(20):  # so that batch norm has something to say
        cnn(torch.randn(16, 3, 32, 32) * 0.5 + 0.2)
    save(folder / "training.pt2", cnn, image)
    cnn.eval()
    save(folder / "cnn.pt2", cnn, image[:1])
    any_size = {"image": {0: torch.export.Dim("batch", max=64)}}
    save(folder / "dynamic.pt2", cnn, image, dynamic_shapes=any_size)
    ids = torch.randint(0, 100, (1, 7))
    save(folder / "two.pt2", TwoInputs().eval(), torch.randn(1, 3, 16, 16), kwargs={"ids": ids})
    save(folder / "recurrent.pt2", Recurrent().eval(), torch.randn(1, 4, 6))
    save_weights(folder, cnn)
    torch.jit.save(torch.jit.trace(cnn, image), folder / "script.pt")
    save(folder / "counter.pt2", Counter().eval(), torch.randn(1, 4))
    save(folder / "few.pt2", Few().eval(), torch.randn(1, 4))
    for kind in ("lstm", "attention", "feature_dropout"):
        save(folder / f"{kind}.pt2", Dropping(kind), torch.randn(1, 3, 4))
    save(folder / "svd.pt2", Svd(), torch.randn(1, 4, 4))
    save(folder / "double.pt2", nn.Linear(4, 2).double().eval(), torch.randn(1, 4).double())
    save(folder / "inside.pt2", Inside().eval(), torch.randn(1, 4))
    write_hostile(folder)


def save_weights(folder: Path, cnn: nn.Module) -> None:
    """Save weights as training scripts do, instead of a program."""
    weights = cnn.state_dict()
    torch.save(weights, folder / "weights.pt")
    torch.save(weights, folder / "old.pth", _use_new_zipfile_serialization=False)
    torch.save(weights, folder / "protocol4.pt", pickle_protocol=4)
    torch.save({"epoch": 3, "state_dict": weights}, folder / "checkpoint.pth")
    torch.save({"epoch": 3, "model": cnn}, folder / "pickled.pt")
    torch.save(cnn, folder / "pickled_old.pth", _use_new_zipfile_serialization=False)
    torch.save(
        {"pytorch-lightning_version": "2.5.0", "state_dict": weights, "hyper_parameters": {}},
        folder / "lightning.ckpt",
    )
    torch.save(image := torch.ones(1, 3), folder / "tensor.pt")
    header = json.dumps({"head.bias": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}})
    content = len(header).to_bytes(8, "little") + header.encode() + image.numpy().tobytes()
    (folder / "net.safetensors").write_bytes(content)


def write_hostile(folder: Path) -> None:
    """Three files that make PyTorch create a file beside them: NAME.marker."""
    with zipfile.ZipFile(folder / "dynamic.pt2") as archive:
        program = archive.read("dynamic/models/model.json").decode()

    def call(name: str) -> str:
        return f"open('{folder / name}.marker', 'w')"

    size = re.search(r"Symbol\('s[0-9]+'.*?\)", program)
    assert size is not None
    sized = program.replace(size[0], f"[{size[0]}, {call('hostile_size')}][0]")
    guarded = {**json.loads(program), "guards_code": [f"{call('hostile_guard')} is not None"]}
    pickled = pickle.dumps(Hostile(folder / "hostile_pickle.marker"))
    replace_member(folder, "hostile_size.pt2", "models/model.json", sized)
    replace_member(folder, "hostile_guard.pt2", "models/model.json", json.dumps(guarded))
    replace_member(folder, "hostile_pickle.pt2", "sample_inputs/model.pt", pickled)


def replace_member(folder: Path, target: str, member: str, content: bytes | str) -> None:
    with (
        zipfile.ZipFile(folder / "dynamic.pt2") as source,
        zipfile.ZipFile(folder / target, "w") as written,
    ):
        for name in source.namelist():
            is_changed = name.endswith(member)
            written.writestr(name, content if is_changed else source.read(name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
