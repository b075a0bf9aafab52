"""What edgeq adds to a file, read back from files that others changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeq.conversion import file_metadata
from edgeq.errors import SourceError
from edgeq.tflite import flatbuffer
from edgeq.values import ConvertOptions
from tests import tiny_models


def carrying(path: Path, key: str, content: bytes) -> Path:
    tree = flatbuffer.parse(tiny_models.add_one(), "model")
    flatbuffer.set_metadata(tree, key, content)
    path.write_bytes(flatbuffer.serialize(tree))
    return path


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"{}", b"[1]", b'["scale=1', b"[" * 100_000, b"null", b'["\\ud800"]']
)
def test_preprocessing_that_is_no_list_of_texts_is_damage(content: bytes, tmp_path: Path) -> None:
    path = carrying(tmp_path / "m.tflite", file_metadata.PREPROCESSING_KEY, content)
    with pytest.raises(SourceError, match=r"m\.tflite is damaged: its metadata edgeq\.preproc"):
        file_metadata.read_preprocessing(path)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"shapes": {}, "fixed": {"a": "b"}}', b'{"shapes": 1, "fixed": {}}']
)
def test_damaged_inputs_of_the_source(content: bytes, tmp_path: Path) -> None:
    path = carrying(tmp_path / "m.tflite", "edgeq.source_inputs", content)
    with pytest.raises(SourceError, match=r"m\.tflite is damaged: its metadata edgeq\.source_inp"):
        file_metadata.read_source_inputs(path, ConvertOptions())


@pytest.mark.parametrize("content", [b"", b"\xff", b"nchw"])
def test_a_layout_that_is_none_is_damage(content: bytes, tmp_path: Path) -> None:
    path = carrying(tmp_path / "m.tflite", file_metadata.LAYOUT_KEY, content)
    with pytest.raises(SourceError, match=r"m\.tflite is damaged: its metadata edgeq\.layout"):
        file_metadata.read_layout(path)
