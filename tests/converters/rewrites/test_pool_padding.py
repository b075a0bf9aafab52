from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeq.converters.rewrites.apply import rewrite
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema

LARGEST = float(np.finfo(np.float32).max)
NAMES = ("paddings of MAX_POOL_2D made milder (1)",)


def model(
    before: str = "", *, value: float = -np.inf, size: int = 8, pad: tuple[int, int] = (1, 1),
    window: int = 3, stride: int = 2, pool: str = "MAX_POOL_2D", shared: bool = False,
) -> tuple[bytes, Any]:  # fmt: skip
    """A padded pooling of a square picture, and a sample of negative values."""
    build = Builder()
    shape = [1, size, size, 2]
    x = build.input(shape)
    source = build.add(before, [x], shape) if before else x
    padded_size = size + sum(pad)
    widths = build.constant([[0, 0], pad, pad, [0, 0]], "int32")
    inputs = [source, widths, build.constant(value)]
    padded = build.add("PADV2", inputs, [1, padded_size, padded_size, 2])
    options = schema.Pool2DOptionsT()
    options.padding, options.filterHeight, options.filterWidth = 1, window, window
    options.strideH = options.strideW = stride
    out = (padded_size - window) // stride + 1
    result = build.add(pool, [padded], [1, out, out, 2], options=options)
    outputs = [build.add("ABS", [result], [1, out, out, 2])]
    if shared:
        outputs.append(build.add("EXP", [padded], [1, padded_size, padded_size, 2]))
    sample = np.random.default_rng(0).normal(-30, 5, shape)
    return build.content(*outputs), sample


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"before": "RELU"}, ["RELU", "PAD", "MAX_POOL_2D", "ABS"]),
        ({"before": "TANH"}, ["TANH", "PADV2", "MAX_POOL_2D", "ABS"]),
        ({"before": "COS"}, ["COS", "MIRROR_PAD", "MAX_POOL_2D", "ABS"]),
        ({"value": -LARGEST}, ["MIRROR_PAD", "MAX_POOL_2D", "ABS"]),
        ({"window": 5, "pad": (2, 2), "size": 8}, ["MIRROR_PAD", "MAX_POOL_2D", "ABS"]),
        ({"window": 5, "pad": (2, 2), "stride": 1, "size": 2}, ["MAX_POOL_2D", "ABS"]),
        ({"pad": (0, 1)}, ["MAX_POOL_2D", "ABS"]),
        ({"size": 7}, ["MAX_POOL_2D", "ABS"]),
        ({"stride": 1}, ["MAX_POOL_2D", "ABS"]),
    ],
)
def test_a_padding_before_a_maximum(options: dict[str, Any], expected: list[str]) -> None:
    content, sample = model(**options)
    made = rewrite(content)
    assert made.names == NAMES
    assert kinds(made.content) == expected
    for scale in (1, -1, 0.01):
        np.testing.assert_array_equal(
            run(made.content, scale * sample)[0], run(content, scale * sample)[0]
        )


@pytest.mark.parametrize("options", [
    {"value": -5.0},  # may be seen
    {"pool": "AVERAGE_POOL_2D"},
    {"shared": True},
    {"pad": (2, 2)},  # a window of padding alone
])  # fmt: skip
def test_other_paddings_stay(options: dict[str, Any]) -> None:
    content, _ = model(**options)
    assert rewrite(content).content is content
