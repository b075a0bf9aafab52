"""The table of operators: releases of their versions, and what holds between its columns."""

from __future__ import annotations

import pytest

from edgeq.accuracy import columns
from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import (
    OPERATORS,
    TRAITS,
    _parse,
    at_least,
    facts,
    first_release,
    having,
    release,
)
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
    custom = {"TFLite_Detection_PostProcess"}
    assert OPERATORS.keys() - custom <= set(flatbuffer.operator_names().values())
    assert list(OPERATORS) == sorted(OPERATORS, key=str.upper)
    for name, found in OPERATORS.items():
        releases = found.releases
        if not releases:
            continue
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
    """MLPerf Tiny's INT8 keyword spotter is such a file: 1.5.0 was the float model's."""
    tree = flatbuffer.parse(file(2), "m")
    assert flatbuffer.min_runtime_version(tree) is None
    flatbuffer.set_metadata(tree, "min_runtime_version", b"1.5.0".ljust(16, b"\0"))
    assert flatbuffer.min_runtime_version(tree) == "1.14.0"
    flatbuffer.require_runtime(tree, "1.12.0")
    assert flatbuffer.metadata(tree, "min_runtime_version") == b"1.14.0".ljust(16, b"\0")
    flatbuffer.require_runtime(tree, "2.6.0")
    assert flatbuffer.min_runtime_version(tree) == "2.6.0"


def test_facts_that_belong_together_stand_together() -> None:
    assert all(having(trait) for trait in TRAITS)
    for name, found in OPERATORS.items():
        has_filter = found.channel_axis is not None
        assert has_filter == (found.input_axis is not None), name
        assert not has_filter or (found.weights == 1 and "product" in found.traits), name
        assert found.micro_name is None or "micro" in found.traits, name
    assert having("quantizes") < having("converts") < having("elementwise")
    assert having("passes") < having("layout") == set(columns._LAYOUTS)
    assert having("sum") < having("arithmetic") < having("masks")
    assert having("rowwise") < set(facts("saturates")) < having("fixed_range")


def test_unknown_words_are_refused() -> None:
    with pytest.raises(KeyError):
        having("fusible")
    with pytest.raises(AssertionError, match=r"unknown words \['fusible'\]"):
        _parse(["1.5", "fusible", "weights=1"])
    with pytest.raises(KeyError):
        _parse(["colour=red"])
