"""Since when TensorFlow Lite has which version of an operator."""

from __future__ import annotations

import pytest

from edgeq.tflite import flatbuffer
from edgeq.tflite.operator_releases import at_least, first_release, release
from tests.tiny_models import Operator, graph, model, operator, schema, tensor


@pytest.mark.parametrize(
    ("operator", "version", "wanted"),
    [
        ("CONV_2D", 1, "1.5.0"),
        ("CONV_2D", 3, "1.14.0"),
        ("CONV_2D", 7, "2.11.0"),
        ("CONV_2D", 8, "2.15.0"),
        ("CONV_2D", 9, None),
        ("FULLY_CONNECTED", 12, "2.17.0"),
        ("FULLY_CONNECTED", 13, "2.18.0"),
        ("FULLY_CONNECTED", 14, None),
        ("TRANSPOSE", 7, "2.14.4"),
        ("DEQUANTIZE", 1, "1.13.1"),
        ("WHILE", 1, "1.15.0"),  # its only version
        ("WHILE", 2, None),
        ("BROADCAST_TO", 1, None),
        ("BROADCAST_TO", 2, "2.5.0"),
        ("TILE", 1, "1.10.1"),
        ("ADD", 99, None),
        ("ADD", 0, None),
        ("Mystery", 1, None),
    ],
)
def test_first_releases(operator: str, version: int, wanted: str | None) -> None:
    assert first_release(operator, version) == wanted


def test_every_row_is_of_an_operator_and_grows() -> None:
    from edgeq.tflite.operator_releases import _table

    known = set(flatbuffer.operator_names().values())
    for name, releases in _table().items():
        assert name in known
        numbers = [release(item) for item in releases if item != "-"]
        assert numbers == sorted(numbers), name
        newest = first_release(name, len(releases))
        assert newest is not None and release(newest)[:2] == numbers[-1][:2]
        assert first_release(name, len(releases) + 1) is None


def test_the_newer_of_two_counts() -> None:
    assert at_least("1.5.0", [("CONV_2D", 3), ("SOFTMAX", 1)]) == "1.14.0"
    assert at_least("2.9.0", [("CONV_2D", 3)]) == "2.9.0"
    assert at_least("2.9.0", [("SOFTMAX", 1), ("CONV_2D", 8), ("ADD", 4)]) == "2.15.0"
    assert at_least("2.14.0", [("TRANSPOSE", 7)]) == "2.14.4"
    assert at_least("1.5.0", []) == "1.5.0"
    assert at_least("2.9.0", [("Mystery", 1)]) == "2.9.0"


def file(version: int) -> bytes:
    tensors = [tensor("x", [1, 2], schema.TensorType.INT8, scale=1.0),
               tensor("y", [1, 2], schema.TensorType.INT8, scale=1.0)]  # fmt: skip
    add = operator(0, [0, 0], [1], schema.AddOptionsT())
    return model([graph(tensors, [0], [1], [add])], [(Operator.ADD, version)])


def test_a_file_that_says_too_little_is_not_believed() -> None:
    """As MLPerf Tiny's INT8 keyword spotter: 1.5.0 was the float model's."""
    tree = flatbuffer.parse(file(2), "m")
    assert flatbuffer.min_runtime_version(tree) is None
    flatbuffer.set_metadata(tree, "min_runtime_version", b"1.5.0".ljust(16, b"\0"))
    assert flatbuffer.min_runtime_version(tree) == "1.14.0"
    flatbuffer.require_runtime(tree, "1.12.0")
    assert flatbuffer.metadata(tree, "min_runtime_version") == b"1.14.0".ljust(16, b"\0")
    flatbuffer.require_runtime(tree, "2.6.0")
    assert flatbuffer.min_runtime_version(tree) == "2.6.0"
