from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgeq.converters.rewrites.apply import rewrite
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run

SHUFFLE = [
    ("TRANSPOSE", [0, 3, 1, 2]),
    ("RESHAPE", [1, 2, 4, 5, 6]),
    ("TRANSPOSE", [0, 2, 1, 3, 4]),
    ("RESHAPE", [1, 8, 5, 6]),
    ("TRANSPOSE", [0, 2, 3, 1]),
]
WINDOWS = [
    ("RESHAPE", [5, 2, 3, 8]),
    ("TRANSPOSE", [1, 0, 2, 3]),
    ("TRANSPOSE", [0, 1, 3, 2]),
    ("RESHAPE", [10, 24]),
]
BACK = [("TRANSPOSE", [0, 3, 1, 2]), ("TRANSPOSE", [0, 2, 3, 1]), ("RESHAPE", [30, 8])]
SPLIT = [("TRANSPOSE", [3, 1, 2, 0]), ("RESHAPE", [4, 10, 6]), ("TRANSPOSE", [2, 1, 0])]
# The reshape joins 8 with a part of 5, which no transposition can.
CUT = [("TRANSPOSE", [0, 3, 1, 2]), ("RESHAPE", [16, 15]), ("TRANSPOSE", [1, 0])]
ONE = [("RESHAPE", [30, 8]), ("TRANSPOSE", [1, 0])]
VALUES = np.arange(240, dtype=np.float32).reshape(1, 5, 6, 8)


def chain(steps: Sequence[tuple[str, list[int]]]) -> bytes:
    build = Builder()
    index, shape = build.input(list(VALUES.shape)), list(VALUES.shape)
    for kind, values in steps:
        shape = values if kind == "RESHAPE" else [shape[place] for place in values]
        index = build.add(kind, [index, build.constant(values, "int32")], shape)
    return build.content(index)


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        (SHUFFLE, ["RESHAPE", "TRANSPOSE", "RESHAPE"]),
        (WINDOWS, ["RESHAPE", "TRANSPOSE", "RESHAPE"]),
        (BACK, ["RESHAPE"]),
        (SPLIT, ["RESHAPE", "TRANSPOSE", "RESHAPE"]),
    ],
)
def test_a_chain_becomes_one_transposition(
    steps: Sequence[tuple[str, list[int]]], left: list[str]
) -> None:
    content = chain(steps)
    made = rewrite(content)
    assert made.names == ("transpositions joined (1)",)
    assert kinds(made.content) == left
    np.testing.assert_array_equal(run(made.content, VALUES)[0], run(content, VALUES)[0])


@pytest.mark.parametrize("steps", [ONE, CUT])
def test_a_chain_that_cannot_be_shorter_stays(steps: Sequence[tuple[str, list[int]]]) -> None:
    content = chain(steps)
    assert rewrite(content).content is content
