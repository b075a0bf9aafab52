from __future__ import annotations

import numpy as np
import pytest

from edgeq.converters.rewrites.apply import rewrite
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema

VALUES = np.random.default_rng(0).normal(size=(1, 4, 5, 3)).astype(np.float32)


def reduced(kind: str, order: list[int], axes: list[int], *, keeps: bool = False) -> bytes:
    """A reduction of a transposed tensor [1, 4, 5, 3]."""
    build = Builder()
    turned = [VALUES.shape[place] for place in order]
    x = build.input(list(VALUES.shape))
    x = build.add("TRANSPOSE", [x, build.constant(order, "int32")], turned)
    options = schema.ReducerOptionsT()
    options.keepDims = keeps
    places = {axis % 4 for axis in axes}
    left = [1 if i in places else size for i, size in enumerate(turned) if keeps or i not in places]
    axis = build.constant(axes, "int32")
    return build.content(build.add(kind, [x, axis], left, options=options))


@pytest.mark.parametrize("kind", ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"])
@pytest.mark.parametrize(
    ("order", "axes"),
    [
        ([0, 3, 1, 2], [2, 3]),
        ([0, 3, 1, 2], [-1, -2]),
        ([0, 3, 1, 2], [1]),
        ([3, 2, 1, 0], [0, 1, 2]),
    ],
)
def test_a_reduction_takes_the_axes_before_the_transposition(
    kind: str, order: list[int], axes: list[int]
) -> None:
    content = reduced(kind, order, axes)
    made = rewrite(content)
    assert made.names == ("TRANSPOSE before a reduction removed (1)",)
    assert kinds(made.content) == [kind]
    np.testing.assert_allclose(run(made.content, VALUES)[0], run(content, VALUES)[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("order", "axes", "keeps"),
    [([0, 3, 1, 2], [3], False), ([0, 3, 1, 2], [2, 3], True)],
)
def test_a_transposition_that_changes_the_result_stays(
    order: list[int], axes: list[int], keeps: bool
) -> None:
    content = reduced("MEAN", order, axes, keeps=keeps)
    assert rewrite(content).content is content
