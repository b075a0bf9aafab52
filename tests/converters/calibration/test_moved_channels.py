from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgeq.converters.calibration.moved_channels import multiply, reshape, transpose

WIDE = np.arange(96)
HEADS = WIDE.reshape(4, 24)


@pytest.mark.parametrize(
    ("given", "source", "made", "expected"),
    [
        (WIDE, (1, 32, 96), (1, 32, 4, 24), WIDE.reshape(1, 1, 4, 24)),
        (WIDE.reshape(1, 1, 4, 24), (1, 32, 4, 24), (1, 32, 96), WIDE),
        (WIDE, (2, 32, 96), (64, 4, 24), WIDE.reshape(1, 4, 24)),
        (WIDE.reshape(1, 4, 1, 24), (1, 4, 32, 24), (4, 32, 24), WIDE.reshape(4, 1, 24)),
        (WIDE, (1, 1, 96), (1, 96), WIDE),
        (WIDE, (1, 32, 96), (1, 3072), None),  # positions and channels in one axis
        (WIDE, (1, 32, 96), (4, 8, 96), WIDE),
    ],
)
def test_reshape(
    given: np.ndarray, source: Sequence[int], made: Sequence[int], expected: np.ndarray | None
) -> None:
    found = reshape(given, source, made)
    if expected is None:
        assert found is None
        return
    assert found is not None and found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
    # The numbers say the same of every value.
    np.testing.assert_array_equal(
        np.broadcast_to(found, made), np.broadcast_to(given, source).reshape(made)
    )


def test_heads_come_first_and_go_back() -> None:
    heads = transpose(HEADS, (0, 2, 1, 3))
    assert heads.shape == (1, 4, 1, 24)
    back = transpose(heads, (0, 2, 1, 3))
    np.testing.assert_array_equal(back, HEADS.reshape(1, 1, 4, 24))
    assert transpose(WIDE, (0, 2, 1)).shape == (1, 96, 1)


def test_a_product_that_adds_up_positions_keeps_channels() -> None:
    heads = HEADS.reshape(1, 4, 1, 24)
    found = multiply(heads, 4, is_second=True, is_adjoint=False)
    np.testing.assert_array_equal(found, heads)
    # The product of queries and keys adds up the channels.
    assert multiply(heads, 4, is_second=True, is_adjoint=True) is None
    assert multiply(heads, 4, is_second=False, is_adjoint=False) is None
    turned = multiply(heads, 4, is_second=False, is_adjoint=True)
    assert turned is not None and turned.shape == (1, 4, 24, 1)
