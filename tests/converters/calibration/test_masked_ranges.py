from __future__ import annotations

import numpy as np
import pytest

from edgeq.converters.calibration.masked_ranges import fit_masks, mild_mask
from edgeq.values import Ranges, TensorRange
from tests.converters.rewrites.tiny_graphs import Builder


def measured(spans: dict[int, tuple[float, float]]) -> Ranges:
    tensors = tuple(TensorRange(i, f"t{i}", low, high) for i, (low, high) in spans.items())
    return Ranges("edgeq", "minmax", 9, tensors, "digest")


def found(ranges: Ranges) -> dict[int, tuple[float, float]]:
    return {item.index: (item.minimum, item.maximum) for item in ranges.tensors}


def test_a_mask_that_is_computed_ends_where_it_hides_the_highest_score() -> None:
    build = Builder()
    scores, flags = build.input([1, 3, 4]), build.input([4], name="flags")
    mask = build.add("MUL", [flags, build.constant(-1000.0)], [4])
    row = build.add("RESHAPE", [mask, build.constant([1, 1, 4], "int32")], [1, 1, 4])
    total = build.add("ADD", [scores, row], [1, 3, 4])
    again = build.add("ADD", [total, row], [1, 3, 4])  # as a second mask
    content = build.content(build.add("SOFTMAX", [again], [1, 3, 4]))
    both = build.add("ADD", [mask, mask], [4])  # of masks alone
    build.graph.operators.insert(1, build.graph.operators.pop())
    hidden = (-1000.0, 0.0)
    ranges = measured({
        scores: (-5, 7), flags: (0, 1), mask: hidden, row: hidden, total: (-1005, 7),
        again: (-2005, 7), both: (-2000, 0),
    })  # fmt: skip
    made = fit_masks(content, ranges)
    assert found(made) == {
        scores: (-5, 7), flags: (0, 1), total: (-13, 7), again: (-21, 7),
        both: (-2000, 0), mask: (-28, 0), row: (-28, 0),  # the second sum has scores from -13 to 7
    }  # fmt: skip
    assert made.sha256 != ranges.sha256
    assert mild_mask((-13, 7)) == -28


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("kind", ["ADD", "SUB", "SELECT", "SELECT_V2"])
def test_a_constant_mask(kind: str, turned: bool) -> None:
    build = Builder()
    scores = build.add("RELU", [build.input([1, 3, 4])], [1, 3, 4])
    flags = np.triu(np.ones((3, 4), bool), 1)
    if kind.startswith("SELECT"):
        pair = [build.constant(-1000.0), scores]
        inputs = [build.constant(flags, "bool"), *(pair[::-1] if turned else pair)]
    else:
        value = 1000 if kind == "SUB" else -1000
        inputs = [scores, build.constant(np.where(flags, value, 0))]
    masked = build.add(kind, inputs, [1, 3, 4])
    moved = build.add("RESHAPE", [masked, build.constant([3, 4], "int32")], [3, 4])
    content = build.content(build.add("SOFTMAX", [moved], [3, 4]))
    ranges = measured({scores: (-5, 7), masked: (-1005, 7), moved: (-1005, 7)})
    expected = {scores: (-5, 7), masked: (-13, 7), moved: (-13, 7)}
    assert found(fit_masks(content, ranges)) == expected


def test_other_ranges_stay_the_same_object() -> None:
    build = Builder()
    one, other = build.input([1, 4]), build.input([1, 4], name="y")
    total = build.add("ADD", [one, other], [1, 4])
    content = build.content(build.add("SOFTMAX", [total], [1, 4]))
    wide = measured({one: (-600, 7), other: (-600, 3), total: (-1100, 7)})  # two masks, no scores
    narrow = measured({one: (-5, 7), other: (-3, 3), total: (-8, 7)})
    for ranges in (wide, narrow):
        assert fit_masks(content, ranges) is ranges


@pytest.mark.parametrize("is_read_twice", [False, True])
def test_large_values_that_are_not_only_scores_stay(is_read_twice: bool) -> None:
    """The cell state of an LSTM may reach -1,200; a softmax may be one of two readers."""
    build = Builder()
    state, step = build.input([1, 4]), build.input([1, 4], name="step")
    total = build.add("ADD", [state, step], [1, 4])
    joined = build.add("CONCATENATION", [step, total], [2, 4])
    last = build.add("SOFTMAX" if is_read_twice else "TANH", [total], [1, 4])
    content = build.content(joined, last)
    ranges = measured({state: (-1200, 80), step: (-1, 1), total: (-1201, 80), joined: (-1201, 80)})
    assert fit_masks(content, ranges) is ranges


def test_a_minimum_hides_as_well_and_int16_needs_a_longer_reach() -> None:
    build = Builder()
    scores = build.input([1, 3, 4])
    mask = build.constant(np.where(np.triu(np.ones((3, 4), bool), 1), -1000, 1000))
    hidden = build.add("MINIMUM", [scores, mask], [1, 3, 4])
    content = build.content(build.add("SOFTMAX", [hidden], [1, 3, 4]))
    ranges = measured({scores: (-5, 7), hidden: (-1000, 7)})
    assert found(fit_masks(content, ranges, 16.0)) == {scores: (-5, 7), hidden: (-21, 7)}
