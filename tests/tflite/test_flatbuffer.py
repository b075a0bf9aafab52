from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.errors import SourceError
from edgeq.tflite import flatbuffer
from edgeq.values import FloatModel


def test_not_a_tflite() -> None:
    with pytest.raises(SourceError) as caught:
        flatbuffer.parse(b"\x002345678901234567", "m.tflite")
    assert str(caught.value) == (
        "m.tflite is not a TensorFlow Lite model: bytes 4 to 8 are b'5678' instead of b'TFL3'. "
        "Name a .tflite file; edgeq convert makes one."
    )


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.tflite does not exist\. Check the path\."):
        flatbuffer.read(tmp_path / "none.tflite")


def test_every_truncation_is_an_error(float_cnn: FloatModel) -> None:
    content = Path(float_cnn.file.path).read_bytes()
    for length in np.linspace(0, len(content) * 0.9, 40, dtype=int):
        with pytest.raises(SourceError):
            flatbuffer.parse(content[:length], "m.tflite")


def test_a_round_trip_gives_the_same_bytes_every_time(float_cnn: FloatModel) -> None:
    content = Path(float_cnn.file.path).read_bytes()
    once = flatbuffer.serialize(flatbuffer.parse(content, "m"))
    twice = flatbuffer.serialize(flatbuffer.parse(once, "m"))
    assert once == twice


def test_the_interface_is_named_by_the_signature(float_cnn: FloatModel) -> None:
    tree = flatbuffer.read(Path(float_cnn.file.path))
    inputs, outputs = flatbuffer.interface(tree)
    assert (inputs, outputs) == (float_cnn.inputs, float_cnn.outputs)
    flatbuffer.set_interface(tree, ["picture"], ["scores"])
    inputs, outputs = flatbuffer.interface(flatbuffer.parse(flatbuffer.serialize(tree), "m"))
    assert (inputs[0].name, outputs[0].name) == ("picture", "scores")


def test_metadata_is_added_and_replaced(float_cnn: FloatModel) -> None:
    tree = flatbuffer.read(Path(float_cnn.file.path))
    flatbuffer.set_metadata(tree, "k", b"one")
    flatbuffer.set_metadata(tree, "k", b"second")
    again = flatbuffer.parse(flatbuffer.serialize(tree), "m")
    assert flatbuffer.metadata(again, "k") == b"second"
    assert flatbuffer.metadata(again, "other") is None
    assert sum(flatbuffer.text(entry.name) == "k" for entry in again.metadata) == 1


@pytest.mark.parametrize("seed", range(60))
def test_flipped_bytes_never_raise_anything_but_a_source_error(
    float_cnn: FloatModel, seed: int
) -> None:
    content = bytearray(Path(float_cnn.file.path).read_bytes())
    random = np.random.default_rng(seed)
    structure = len(content) - 20_000  # the tables; the rest is weights
    for position in random.integers(0, 4000, 20):
        content[(8 + position) % structure] = random.integers(256)
    try:
        flatbuffer.interface(flatbuffer.parse(bytes(content), "m"))
    except SourceError as error:
        assert "m is " in str(error)


def _signature_of_nothing(tree: Any) -> None:
    tree.signatureDefs[0].subgraphIndex = 7


def _signature_with_no_tensor(tree: Any) -> None:
    tree.signatureDefs[0].outputs[0].tensorIndex = 10_000


def _metadata_in_no_buffer(tree: Any) -> None:
    tree.metadata[0].buffer = 10_000


def _inner_tensor_without_zero_points(tree: Any) -> None:
    place = tree.subgraphs[0].operators[0].outputs[0]
    tree.subgraphs[0].tensors[place].quantization.zeroPoint = None


@pytest.mark.parametrize("damage", [
    _signature_of_nothing, _signature_with_no_tensor, _metadata_in_no_buffer,
    _inner_tensor_without_zero_points,
])  # fmt: skip
def test_what_points_nowhere_is_damaged(
    damage: Callable[[Any], None], int8_mobilenet: Path
) -> None:
    tree = flatbuffer.read(int8_mobilenet)
    damage(tree)
    with pytest.raises(SourceError, match="m is damaged"):
        flatbuffer.parse(flatbuffer.serialize(tree), "m")


def test_an_input_with_scales_and_no_zero_points_is_damaged(int8_mobilenet: Path) -> None:
    tree = flatbuffer.read(int8_mobilenet)
    graph = tree.subgraphs[0]
    graph.tensors[graph.inputs[0]].quantization.zeroPoint = None
    with pytest.raises(SourceError, match="m is damaged"):
        flatbuffer.parse(flatbuffer.serialize(tree), "m")


def test_scales_of_real_numbers_are_left_out(float_cnn: FloatModel, int8_mobilenet: Path) -> None:
    tree, own = flatbuffer.read(Path(float_cnn.file.path)), flatbuffer.schema()
    tensor = tree.subgraphs[0].tensors[tree.subgraphs[0].inputs[0]]
    tensor.quantization = own.QuantizationParametersT()
    tensor.quantization.scale = np.array([0.5], np.float32)
    tensor.quantization.zeroPoint = np.array([3])
    read = flatbuffer.parse(flatbuffer.serialize(tree), "m.tflite")
    assert (flatbuffer.interface(read)[0][0].scales, len(tensor.quantization.scale)) == ((), 1)
    assert len(flatbuffer.interface(flatbuffer.read(int8_mobilenet))[0][0].scales) == 1
