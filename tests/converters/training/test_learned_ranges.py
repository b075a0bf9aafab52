"""Reading a Keras file before a child opens it: hostile contents do no harm."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgeq.converters.training.learned_ranges import trained_granularity


def keras_file(folder: Path, config: bytes) -> Path:
    path = folder / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config)
    return path


def layer(config: Any) -> bytes:
    return json.dumps({"layers": [{"registered_name": "edgeq>Dense", "config": config}]}).encode()


@pytest.mark.parametrize(("config", "found"), [
    (layer({"granularity": "tensor"}), "tensor"),
    (layer({}), "channel"),
    (layer({"granularity": ["tensor"]}), "channel"),
    (layer(None), "channel"),
    (b'{"registered_name": "edgeq>Dense"}', "channel"),
    (b"[" * 100_000, None),
    (b"{", None),
    (b"\xff", None),
])  # fmt: skip
def test_a_configuration_of_any_shape_is_looked_through(
    config: bytes, found: str | None, tmp_path: Path
) -> None:
    assert trained_granularity(keras_file(tmp_path, config)) == found


@pytest.mark.parametrize("damage", [
    lambda content: content.replace(b"\x08\x00", b"\x63\x00"),  # an unknown way to compress
    lambda content: content.replace(b"\x14\x00\x00\x00", b"\x14\x00\x01\x00"),  # encrypted
    lambda content: content[:-30],
    lambda content: content[:40] + b"\xff" * 20 + content[60:],
    lambda content: b"",
])  # fmt: skip
def test_a_damaged_archive_is_none(damage: Any, tmp_path: Path) -> None:
    path = keras_file(tmp_path, layer({"granularity": "tensor"}))
    path.write_bytes(damage(path.read_bytes()))
    assert trained_granularity(path) is None
