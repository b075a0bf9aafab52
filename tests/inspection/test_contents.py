from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgeq.cli import cli
from edgeq.errors import SourceError
from edgeq.inspection.contents import inspect_model
from edgeq.tflite import flatbuffer
from edgeq.values import Inspection
from tests.tiny_models import add_one


def inspect(*arguments: object) -> Any:
    return CliRunner().invoke(cli, ["inspect", *map(str, arguments)], standalone_mode=False)


def test_every_byte_belongs_somewhere(int8_mobilenet: Path) -> None:
    found = inspect_model(int8_mobilenet)
    assert len(found.operator_bytes) == len(found.certificate.operators) == 24
    parts = sum(found.operator_bytes) + found.unused_bytes + found.structure_bytes
    assert parts == found.model.size_bytes == int8_mobilenet.stat().st_size
    assert found.unused_bytes == 0
    stored = sum(item.constant_bytes or 0 for item in found.tensors)
    assert sum(found.operator_bytes) == stored  # each constant has one tensor here


def test_a_constant_counts_where_it_is_read_first(tmp_path: Path) -> None:
    def look(content: bytes) -> Inspection:
        (tmp_path / "m.tflite").write_bytes(content)
        return inspect_model(tmp_path / "m.tflite")

    assert look(add_one()).operator_bytes == (4,)
    tree = flatbuffer.parse(add_one(), "it")
    tree.subgraphs[0].operators = tree.subgraphs[0].operators * 2
    assert look(flatbuffer.serialize(tree)).operator_bytes == (4, 0)


def test_tensors_have_their_scales(int8_mobilenet: Path) -> None:
    found = inspect_model(int8_mobilenet)
    image = next(item for item in found.tensors if item.name == "image")
    assert (image.dtype, image.shape, image.scales) == ("int8", (1, 28, 28, 1), 1)
    assert image.lowest_scale == image.highest_scale == pytest.approx(1 / 255)
    assert (image.zero_points, image.constant_bytes) == ((-128,), None)
    filters = [item for item in found.tensors if item.scales > 1 and item.dtype == "int8"]
    assert filters and all(item.zero_points == (0,) for item in filters)
    assert all(item.lowest_scale < item.highest_scale for item in filters)  # type: ignore[operator]


def test_names_and_metadata(int8_mobilenet: Path) -> None:
    found = inspect_model(int8_mobilenet)
    (signature,) = found.signatures
    assert (signature.key, signature.inputs[0][0]) == ("serving_default", "image")
    texts = {entry.name: entry.text for entry in found.metadata}
    assert texts["edgeq.preprocessing"] == '["scale=1/255"]'
    assert texts["min_runtime_version"] == found.certificate.min_runtime_version


def test_the_command_shows_the_largest_or_all(int8_mobilenet: Path, tmp_path: Path) -> None:
    done = inspect(int8_mobilenet)
    assert done.exception is None
    assert "  and 14 operators with fewer constants: --all" in done.stdout.splitlines()
    assert '  metadata   edgeq.preprocessing, 15 B: ["scale=1/255"]' in done.stdout.splitlines()
    every = inspect(int8_mobilenet, "--all", "--json", "-o", tmp_path / "i.json").stdout
    assert json.loads(every) == json.loads((tmp_path / "i.json").read_text())
    shown = inspect(int8_mobilenet, "--all").stdout
    assert "zero point" in shown and "--all" not in shown


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"not a model at all")
    with pytest.raises(SourceError, match=r"is not a TensorFlow Lite model: it is a text file"):
        inspect_model(tmp_path / "m.tflite")
    with zipfile.ZipFile(tmp_path / "my net.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(SourceError, match=r"Convert it: edgeq convert '\S+/my net.keras' "):
        inspect_model(tmp_path / "my net.keras")
