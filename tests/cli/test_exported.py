"""`edgeq convert` on files from PyTorch and ONNX that cannot be read here: no framework needed."""

from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_other_python(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("TORCH", "ONNX"):
        monkeypatch.delenv(f"EDGEQ_{kind}_PYTHON", raising=False)


def complaint(path: Path) -> str:
    """What the command prints when it fails, with status 1 and nothing written."""
    command = [sys.executable, "-c", "from edgeq.cli import main; main()", "convert", path.name]
    options = ["-o", "o.tflite", "--data", "samples.npz"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, check=False, cwd=path.parent
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert not (path.parent / "o.tflite").exists()
    return done.stderr


@pytest.mark.skipif(find_spec("litert_torch") is not None, reason="litert-torch is installed")
def test_a_program_without_the_extra(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/models/model.json", "{}")
    assert complaint(path) == (
        "error: Converting from PyTorch needs litert-torch, which this Python does not have.\n"
        'hint:  Install it with: pip install "edgeq[torch]", here or for another Python, which '
        "--torch-python names.\n"
    )


@pytest.mark.skipif(find_spec("onnx2tf") is not None, reason="onnx2tf is installed")
def test_an_onnx_file_without_the_extra(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\x08\x08\x12\x07pytorch")
    assert complaint(path) == (
        "error: Converting from ONNX needs onnx2tf, which this Python does not have.\n"
        "hint:  Give it a separate environment: python3.12 -m venv onnx-env && "
        'onnx-env/bin/pip install "edgeq[onnx]", and pass --onnx-python onnx-env/bin/python.\n'
    )


def test_weights_instead_of_a_program(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps({"head.weight": None}, protocol=2))
    assert complaint(path) == (
        "error: net.pt is a state_dict: weights without their network, 'head.weight' first; edgeq "
        "reads programs of torch.export.save.\n"
        "hint:  Export it in Python, where Net is the class of your network: model = Net(); "
        "model.load_state_dict(torch.load('net.pt', weights_only=True)); torch.export.save("
        "torch.export.export(model.eval(), (torch.randn(1, 3, 224, 224),)), 'net.pt2'). Give it "
        "an input of the model's shape.\n"
    )
