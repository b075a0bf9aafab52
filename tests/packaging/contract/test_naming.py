"""Names of tensors as identifiers in six languages."""

from __future__ import annotations

import keyword

import pytest

from edgeq.packaging.contract import naming


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("image", "image"),
        ("serving_default_Image:0", "serving_default_image_0"),
        ("StatefulPartitionedCall:0", "stateful_partitioned_call_0"),
        ("class", "class_"),
        ("val", "val_"),
        ("guard", "guard_"),
        ("constexpr", "constexpr_"),
        ("default", "default_"),
        ("1st input", "input_1_st_input"),
        ("Größe", "groe"),  # the sharp s has no ASCII form
        ("入力", "input"),
        ("", "input"),
        ('a";drop', "a_drop"),
        ("dense/BiasAdd;x", "dense_bias_add_x"),
    ],
)
def test_a_name_becomes_an_identifier(name: str, expected: str) -> None:
    found = naming.snake(name, "input")
    assert found == expected
    assert found.isidentifier() and not keyword.iskeyword(found)


def test_every_keyword_of_python_is_known() -> None:
    known = {word.lower() for word in (*keyword.kwlist, *keyword.softkwlist)} - {"_"}
    assert known <= naming.RESERVED


def test_names_that_come_out_the_same_are_told_apart_in_every_spelling() -> None:
    names = naming.unique(["a_b", "aB", "a b", "A-B:0", "class", "Class"], "input")
    for spell in (str, naming.camel, naming.pascal):
        assert len({spell(name).lower() for name in names}) == len(names)


@pytest.mark.parametrize(
    ("identifier", "camel", "pascal"),
    [("input_ids", "inputIds", "InputIds"), ("class_", "class_", "Class"), ("x", "x", "X")],
)
def test_spellings(identifier: str, camel: str, pascal: str) -> None:
    assert (naming.camel(identifier), naming.pascal(identifier)) == (camel, pascal)
