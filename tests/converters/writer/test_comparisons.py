"""Comparisons in integer models: exact for every stored value, whatever the scales are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeq.converters.rewrites.conditions import TURNED
from edgeq.converters.writer.comparisons import EQUALITY
from edgeq.converters.writer.write import Target, Writer
from edgeq.tflite import flatbuffer, quantmath
from edgeq.values import Ranges, TensorRange
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run

NUMPY: dict[str, Any] = {kind: getattr(np, kind.lower()) for kind in TURNED}
EVERY = np.arange(-128, 128).astype(np.int8)
# Scales of 0.0001, where the INT8 kernel takes neighbours for equal; of exactly 1, where it stops
# the process; of 4, where its results are wrong.
RANGES = ((0.0, 0.0255), (0.0, 255.0), (-500.0, 520.0))


def written(
    build: Builder, result: int, dtype: str, *ranges: tuple[float, float], io: str = ""
) -> bytes:
    source = build.content(result)
    tensors = tuple(TensorRange(n, f"x{n}", *ranges[n]) for n in range(len(ranges)))
    return Writer(source, Target(dtype, io or dtype)).write(
        Ranges("edgeq", "minmax", 1, tensors, "")
    )


@pytest.mark.parametrize("kind", sorted(NUMPY))
@pytest.mark.parametrize("span", RANGES)
@pytest.mark.parametrize("is_first", [False, True])
def test_a_constant_is_compared_exactly(
    kind: str, span: tuple[float, float], is_first: bool
) -> None:
    step = (span[1] - span[0]) / 255
    # On a step, between two, out of the range.
    for place in (100, 100.4, 100.6, 300, -50):
        limit = float(np.float32(span[0] + place * step))
        build = Builder()
        x = build.input([256])
        pair = [x, build.constant(limit)]
        made = written(build, build.add(kind, pair[:: -1 if is_first else 1], [256], "bool"),
                       "int8", span)  # fmt: skip
        places = np.arange(256)
        # The constant becomes a step for the two that ask for equality, as the values of an input
        # do, which are clipped to the range.
        wanted = min(max(round(place), 0), 255) if kind in EQUALITY else place
        pair = (wanted, places) if is_first else (places, wanted)
        np.testing.assert_array_equal(run(made, EVERY)[0], NUMPY[kind](*pair), f"{kind} {place}")


@pytest.mark.parametrize("kind", sorted(NUMPY))
@pytest.mark.parametrize("is_first", [False, True])
def test_nothing_compares_with_nan(kind: str, is_first: bool) -> None:
    build = Builder()
    pair = [build.input([256]), build.constant(np.nan)]
    result = build.add(kind, pair[:: -1 if is_first else 1], [256], "bool")
    found = run(written(build, result, "int8", (0, 255)), EVERY)[0]
    assert (found == (kind == "NOT_EQUAL")).all()


@pytest.mark.parametrize("kind", ["LESS", "GREATER_EQUAL"])
@pytest.mark.parametrize("other", RANGES)
def test_two_tensors_with_different_scales_are_compared_exactly(
    kind: str, other: tuple[float, float]
) -> None:
    build = Builder()
    x, y = build.input([256, 1]), build.input([1, 256], name="y")
    made = written(build, build.add(kind, [x, y], [256, 256], "bool"), "int8", (-1, 254), other)
    one, two = flatbuffer.interface(flatbuffer.parse(made, "m"))[0]
    pair = EVERY.reshape(256, 1), EVERY.reshape(1, 256)
    real = [quantmath.dequantize(values, spec).astype(np.float64)
            for values, spec in zip(pair, (one, two), strict=True)]  # fmt: skip
    expected, found = NUMPY[kind](*real), run(made, *pair)[0]
    # Where the real values are equal, the rounding of one scale in 2**21 decides.
    clear = np.abs(real[0] - real[1]) > 1e-4 * max(one.scales[0], two.scales[0])
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(found[clear], expected[clear])


def test_int16_values_of_different_scales_are_compared_as_real_ones() -> None:
    build = Builder()
    x, y = build.input([3]), build.input([3], name="y")
    made = written(build, build.add("GREATER", [x, y], [3], "bool"), "int16", (-1, 1), (-100, 100))
    pair = np.array([20000, 20000, -5], np.int16), np.array([100, 300, 0], np.int16)
    assert run(made, *pair)[0].tolist() == [True, False, False]
    assert kinds(made).count("MUL") == 2


def test_one_scale_needs_no_arithmetic() -> None:
    build = Builder()
    x = build.input([4])
    made = written(build, build.add("EQUAL", [x, x], [4], "bool"), "int8", (0, 255))
    assert kinds(made) == ["CAST", "CAST", "EQUAL"]
    assert run(made, EVERY[:4])[0].all()


@pytest.mark.parametrize("kind", sorted(EQUALITY))
def test_equal_values_in_two_ranges_are_equal(kind: str) -> None:
    build = Builder()
    x, y = build.input([5]), build.input([5], name="y")
    result = build.add(kind, [x, y], [5], "bool")
    made = written(build, result, "int8", (0, 2), (-1, 2), io="float32")
    values = np.array([0, 0.5, 1, 1.5, 2], np.float32)
    assert run(made, values, values)[0].tolist() == [kind == "EQUAL"] * 5
    assert run(made, values, values[::-1])[0].tolist().count(kind == "EQUAL") == 1
