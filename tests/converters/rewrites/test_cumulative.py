from __future__ import annotations

import numpy as np
import pytest

from edgeq.converters.rewrites.apply import rewrite
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema

VALUES = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


def running(axis: int, *, exclusive: bool = False, reverse: bool = False) -> bytes:
    build = Builder()
    options = schema.CumsumOptionsT()
    options.exclusive, options.reverse = exclusive, reverse
    x = build.input([2, 5, 3])
    return build.content(
        build.add("CUMSUM", [x, build.constant(axis, "int32")], [2, 5, 3], options=options)
    )


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_running_sum_is_a_product(axis: int, exclusive: bool, reverse: bool) -> None:
    content = running(axis, exclusive=exclusive, reverse=reverse)
    made = rewrite(content)
    assert made.names == ("CUMSUM as FULLY_CONNECTED (1)",)
    assert "CUMSUM" not in kinds(made.content)
    np.testing.assert_allclose(
        run(made.content, VALUES)[0], run(content, VALUES)[0], rtol=1e-5, atol=1e-6
    )


def test_whole_numbers_are_left() -> None:
    build = Builder()
    x = build.input([1, 4], "int32")
    axis = build.constant(1, "int32")
    content = build.content(build.add("CUMSUM", [x, axis], [1, 4], "int32"))
    assert rewrite(content).content is content
