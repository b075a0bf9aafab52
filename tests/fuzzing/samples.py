"""The sound files that are damaged: made once, by edgeq's own commands where it can be."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzzing.truth import run_model

ENDINGS = ("tflite", "keras", "h5", "saved", "pt2", "onnx")
PYTHONS = {"torch": "EDGEQ_TORCH_PYTHON", "onnx": "EDGEQ_ONNX_PYTHON"}
PROJECT = """\
[model]
source = "tiny.tflite"
output = "build/tiny.tflite"
effort = "fast"

[data]
calibration = "data.npz"
test = "test.npz"

[run]
devices = ["local"]
runs = 30

[policy]
max_size = "1 MB"
min_sqnr_db = 5
max_drop_points = 60
drop_must_be = "not-disproven"

[package]
targets = ["python"]
release = "1.2.0"
"""
POLICY = """\
[policy]
max_drop_points = 1.5
min_sqnr_db = 10
max_size = "1 MB"
max_float_islands = 0
runs_on = "2.14"
drop_must_be = "proven"

[policy.devices.local]
max_p50_ms = 5
min_speedup = 1.5

[policy.regression]
max_size_percent = 2
"""
DEVICES = """\
[devices.pi4]
address = "ssh://pi@192.0.2.1:22"
python = "/usr/bin/python3.11"

[devices.phone]
address = "adb:0123456789"
"""
_QUICK = "--runs", "30", "--rounds", "3"


@contextlib.contextmanager
def at(folder: Path) -> Iterator[None]:
    """`contextlib.chdir`, which Python 3.10 does not have."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def edgeq(folder: Path, *arguments: object, check: bool = True) -> str:
    """Run edgeq in a folder; what it printed."""
    from click.testing import CliRunner

    from edgeq.cli import cli

    with at(folder):
        done = CliRunner().invoke(cli, [*map(str, arguments)], standalone_mode=False)
    if check and done.exception is not None:
        raise RuntimeError(f"edgeq {arguments}: {done.exception}") from done.exception
    return done.output


def make(folder: Path, outside: Path, records: Mapping[str, Path] | None = None) -> None:
    """Everything, in one folder.

    Args:
        records: those of each kind, when they are there already.
    """
    outside.mkdir(parents=True, exist_ok=True)
    (outside / "canary").write_text("what no model may read\n")
    script = Path(__file__).with_name("make_models.py")
    pythons = {"tensorflow": sys.executable} | {
        name: os.environ[PYTHONS[name]] for name in PYTHONS if PYTHONS[name] in os.environ
    }
    for name, python in pythons.items():
        subprocess.run([python, script, name, folder, outside], check=True, capture_output=True)
    _make_data(folder)
    common = ("--data", "data.npz", "--test-data", "test.npz", "--effort", "fast")
    edgeq(
        folder, "convert", "tiny.tflite", *common, "--preprocess", "scale=1/2", "-o", "int8.tflite"
    )
    if records is None:
        _make_records(folder)
    for kind, path in (records or {}).items():
        shutil.copy(path, folder / f"{kind}.json")
    _make_packages(folder)
    _make_history(folder)
    _make_project(folder)
    _make_journal(folder)


def _make_data(folder: Path) -> None:
    random = np.random.default_rng(0)
    for name, count in (("data", 48), ("test", 24)):
        images, labels = _draw(folder / "tiny.tflite", random, count)
        np.savez(folder / f"{name}.npz", image=images, y=labels)
        first = np.moveaxis(images, -1, 1)
        np.savez(folder / f"{name}-channels.npz", x=first, y=labels)
    np.save(folder / "data.npy", images)
    rows = images.reshape(len(images), -1)
    header = ",".join([*(f"p{number}" for number in range(64)), "label"])
    lines = [
        ",".join([*(f"{v:.6f}" for v in row), str(y)]) for row, y in zip(rows, labels, strict=True)
    ]
    (folder / "data.csv").write_text("\n".join([header, *lines]) + "\n")
    from PIL import Image

    for number, image in enumerate(images[:6]):
        pixels = Image.fromarray((255 * image[..., 0]).astype(np.uint8))
        for ending in ("png", "jpeg", "bmp", "gif", "webp", "tiff"):
            stream = io.BytesIO()
            pixels.save(stream, ending)
            (folder / f"image{number}.{ending}").write_bytes(stream.getvalue())
    _make_small_files(folder, images, random)
    (folder / "labels.txt").write_text("cat\ndog\nbird\n")
    for name, text in (("policy", POLICY), ("devices", DEVICES), ("project", PROJECT)):
        (folder / f"{name}.toml").write_text(text)
    (folder / "ssh_config").write_text(
        "Host pi4 board\n  HostName 192.0.2.1\n  User pi\nHost *\n  Port=22\n"
    )


def _make_small_files(folder: Path, images: Any, random: Any) -> None:
    """Arrays and sounds, one in each file, and labels beside pictures in every form."""
    for number, image in enumerate(images[:6]):
        np.save(folder / f"array{number}.npy", image)
        pcm = random.integers(-9000, 9000, 700, np.int16)
        form = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
        body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", 1400)
        content = b"RIFF" + struct.pack("<I", len(body) + 1400) + body + pcm.tobytes()
        (folder / f"clip{number}.wav").write_bytes(content)
    np.save(folder / "labels.npy", np.arange(24) % 3)
    files = [f"image{number}.png" for number in range(6)]
    rows = [f"{file},{number % 3}" for number, file in enumerate(files)]
    (folder / "labels.csv").write_text("\n".join(["file,label", *rows]) + "\n")
    known = [{"id": n, "file_name": name, "width": 8, "height": 8} for n, name in enumerate(files)]
    boxes = [{"image_id": n, "category_id": 3, "bbox": [1, 2, 3, 4]} for n in range(6)]
    kinds = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    coco = {"images": known, "categories": kinds, "annotations": boxes}
    (folder / "labels.json").write_text(json.dumps(coco))
    (folder / "boxes.txt").write_text("0 0.5 0.5 0.2 0.3\n1 0.25 0.5 0.1 0.1\n")


def _draw(model: Path, random: Any, count: int) -> tuple[Any, Any]:
    """Images of which the model tells the classes, all but a few; as many of each class."""
    found: dict[int, list[Any]] = {0: [], 1: [], 2: []}
    while min(map(len, found.values())) < count // 3:
        images = random.random((200, 8, 8, 1)) ** random.uniform(0.2, 5, (200, 1, 1, 1))
        classes = run_model(model, images.astype(np.float32)).argmax(1)
        for image, label in zip(images, classes, strict=True):
            found[int(label)].append(image)
    images = np.concatenate([items[: count // 3] for items in found.values()]).astype(np.float32)
    labels = np.repeat([0, 1, 2], count // 3)
    labels[:: count // 2] = 1  # no model is right always
    order = random.permutation(count)
    return images[order], labels[order]


def _make_records(folder: Path) -> None:
    both = "--device", "local,broken@127.0.0.1:1"
    test = "--data", "test.npz"
    commands = {
        "bench": ("bench", "int8.tflite", *_QUICK),
        "eval": ("eval", "int8.tflite", *test),
        "compare": ("compare", "tiny.tflite", "int8.tflite", *test, *_QUICK),
        "debug": ("debug", "tiny.tflite", "int8.tflite", *test),
        "profile": ("profile", "int8.tflite", "tiny.tflite", *_QUICK[:2]),
        "parity": ("parity", "int8.tflite", *test),
        "inspect": ("inspect", "int8.tflite"),
        "fit": ("fit", "int8.tflite", "--coral"),
        "doctor": ("doctor", "--model", "int8.tflite"),
        "fleet-bench": ("bench", "int8.tflite", *_QUICK, *both),
        "fleet-eval": ("eval", "int8.tflite", *test, *both),
        "fleet-compare": ("compare", "tiny.tflite", "int8.tflite", *test, "--no-latency", *both),
    }
    for kind, command in commands.items():
        edgeq(folder, *command, "-o", f"{kind}.json", check=not kind.startswith("fleet"))
    shutil.copy(folder / "int8.tflite.json", folder / "convert.json")
    edgeq(
        folder,
        "gate",
        "int8.tflite.json",
        "compare.json",
        "--policy",
        "policy.toml",
        "-o",
        "gate.json",
    )
    edgeq(
        folder,
        "tune",
        "tiny.tflite",
        *test,
        "--test-data",
        "data.npz",
        "--max-drop",
        60,
        "--objective",
        "size",
        "--max-trials",
        2,
        "-o",
        "tuned.tflite",
    )
    shutil.copy(folder / "tuned.tflite.json", folder / "tune.json")


def _make_packages(folder: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from edgeq.packaging.container import signing

    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    form = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(*form))
    (folder / "key.pub.pem").write_bytes(signing.public_pem(key))
    common = (
        "package",
        "int8.tflite",
        "--data",
        "test.npz",
        "--vectors",
        2,
        "--labels",
        "labels.txt",
        "--license",
        "Apache-2.0",
    )
    for target in ("python", "ios", "c", "android"):
        edgeq(folder, *common, "--target", target, "-o", f"{target}.zip", check=False)
    edgeq(folder, *common, "--target", "python", "--sign-with", "key.pem", "-o", "signed")


def _make_history(folder: Path) -> None:
    kinds = ("convert", "compare", "bench", "eval", "profile", "fleet-bench")
    store = "--database", "history.sqlite"
    edgeq(folder, "history", "add", *(f"{kind}.json" for kind in kinds), "--tag", "v1", *store)
    edgeq(folder, "history", "export", "export", *store)
    shutil.make_archive(str(folder / "export"), "zip", folder / "export")
    with tarfile.open(folder / "export.tar", "w") as archive:
        archive.add(folder / "export", "export")


def _make_project(folder: Path) -> None:
    """A project in which everything is done."""
    project = folder / "project"
    project.mkdir(exist_ok=True)
    for name in ("tiny.tflite", "data.npz", "test.npz"):
        shutil.copy(folder / name, project)
    (project / "edgeq.toml").write_text(PROJECT)
    edgeq(project, "run")


def _make_journal(folder: Path) -> None:
    """The journal of a search that was ended after two trials."""
    command = [sys.executable, "-c", "from edgeq.cli import main; main()", *tune_arguments()]
    child = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    journal = folder / "searched.tflite.tuning"
    until = time.monotonic() + 120
    while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 4):
        if child.poll() is not None or time.monotonic() > until:
            raise RuntimeError("edgeq tune left no journal to damage")
        time.sleep(0.01)
    child.send_signal(signal.SIGTERM)
    child.wait()


def tune_arguments() -> tuple[str, ...]:
    """A search that takes some seconds."""
    return (
        "tune",
        "tiny.tflite",
        "--data",
        "data.npz",
        "--test-data",
        "test.npz",
        "--max-drop",
        "60",
        "--objective",
        "size",
        "--max-trials",
        "6",
        "-o",
        "searched.tflite",
    )


def folder_files(folder: Path) -> dict[str, bytes]:
    """The files of a folder, by their names inside."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def with_member(files: dict[str, Any], name: str, content: bytes) -> dict[str, Any]:
    """A package whose one file is another, with manifest and sums made again for it."""
    import hashlib

    made = {**files, name: content}
    if name != "manifest.json":
        manifest = json.loads(made["manifest.json"])
        if name in manifest["files"]:
            manifest["files"][name] = [hashlib.sha256(content).hexdigest(), len(content)]
        made["manifest.json"] = json.dumps(manifest).encode()
    sums = [
        f"{hashlib.sha256(made[path]).hexdigest()}  {path}\n"
        for path in sorted(made)
        if not path.startswith(("SHA256SUMS", "signing-key"))
    ]
    return {**made, "SHA256SUMS": "".join(sums).encode()}
