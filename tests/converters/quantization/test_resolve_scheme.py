from __future__ import annotations

import pytest

from edgeq.converters.quantization.resolve_scheme import check_engine, resolve
from edgeq.errors import UsageError


@pytest.mark.parametrize(
    ("scheme", "granularity", "message"),
    [
        (
            "int8",
            "block:32",
            "--granularity block:32 cannot be combined with --scheme int8: no kernel computes with "
            "INT8 weights in blocks.",
        ),
        (
            "weight-only-int8",
            "block:48",
            "Unknown granularity 'block:48'; use one of channel, tensor, block:32, block:64, "
            "block:128, block:256.",
        ),
    ],
)
def test_blocks_need_a_scheme_that_takes_them(scheme: str, granularity: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(scheme, None, granularity)
    assert caught.value.message == message
    assert resolve("weight-only-int4", None, "block:256")[0].takes_blocks


def test_the_second_engine_of_edgeq_0_1_is_replaced() -> None:
    check_engine("edgeq")
    with pytest.raises(UsageError) as caught:
        check_engine("litert")
    assert str(caught.value) == (
        "--engine litert was removed: edgeq's own quantizer now makes every scheme, "
        "weight-only-int8, weight-only-int4 and --granularity block:N included. "
        "Remove --engine litert."
    )
    with pytest.raises(UsageError, match="Unknown engine 'magic'; the only one is edgeq"):
        check_engine("magic")
