from __future__ import annotations

from pathlib import Path

import pytest

from edgeq.errors import SourceError
from edgeq.tflite import flatbuffer, model_file
from edgeq.tflite.model_file import read_model, shared_tree


def test_equal_bytes_are_parsed_once_and_others_are_not_mixed_up(int8_mobilenet: Path) -> None:
    content = int8_mobilenet.read_bytes()
    tree = shared_tree(content, "it")
    assert read_model(int8_mobilenet).tree is tree
    changed = flatbuffer.parse(content, "it")
    changed.description = b"another one"
    other = shared_tree(flatbuffer.serialize(changed), "it")
    assert flatbuffer.text(other.description) == "another one"
    assert shared_tree(bytes(bytearray(content)), "it") is tree


def test_trees_are_forgotten_beyond_the_limit(
    int8_mobilenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = int8_mobilenet.read_bytes()
    monkeypatch.setattr(model_file, "_kept", [])
    monkeypatch.setattr(model_file, "_MOST_BYTES", len(content) - 1)
    assert shared_tree(content, "it") is not shared_tree(content, "it")


def test_damaged_bytes_are_refused_each_time_by_their_name() -> None:
    for name in ("one", "two"):
        with pytest.raises(SourceError, match=f"{name} is not a TensorFlow Lite model"):
            shared_tree(b"no model at all", name)
