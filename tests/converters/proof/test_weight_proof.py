"""A weight-only file has the dtype, arithmetic and granularity that were requested."""

from __future__ import annotations

import pytest

from edgeq.converters.proof.weight_proof import judge_weight_only
from edgeq.values import Certificate, OperatorReport
from edgeq.values.schemes import SCHEMES


def report(
    granularity: str = "channel",
    shape: tuple[int, ...] = (4, 64),
    *,
    name: str = "FULLY_CONNECTED",
    dtype: str | None = "int4",
    precision: str = "weight-only",
    output: str = "y",
) -> OperatorReport:
    return OperatorReport(
        0, name, output, precision, dtype, None, 1, weight_shape=shape, granularity=granularity
    )


def problems(granularity: str, *operators: OperatorReport) -> list[str]:
    certificate = Certificate((), (), operators, 0, 0, 0, (), (), None, (), None, 1)
    return judge_weight_only(certificate, SCHEMES["weight-only-int4"], granularity)


ONE = "1 of 1 operators with weights, FULLY_CONNECTED (y): has a scale per"


@pytest.mark.parametrize(
    ("asked", "operator", "problem"),
    [
        ("channel", report(), None),
        ("tensor", report("tensor"), None),
        ("block:32", report("block:32"), None),
        # One channel has one scale, and a block of all inputs has one for each channel.
        ("channel", report("tensor", (1, 64)), None),
        ("tensor", report(), f"{ONE} channel instead of per tensor."),
        ("block:32", report("tensor", (1, 64)), f"{ONE} tensor instead of blocks of 32."),
        ("channel", report("tensor", (1, 3, 3, 1), name="DEPTHWISE_CONV_2D"), None),
        ("channel", report("tensor", (1, 3, 3, 2), name="DEPTHWISE_CONV_2D"),
         "1 of 1 operators with weights, DEPTHWISE_CONV_2D (y): has a scale per tensor instead of "
         "per channel."),
        ("channel", report("tensor", (1, 9), name="EMBEDDING_LOOKUP"), None),
        ("block:64", report(), None),
        ("block:32", report(), f"{ONE} channel instead of blocks of 32."),
        ("block:64", report("tensor"), f"{ONE} tensor instead of blocks of 64."),
        ("block:64", report(shape=(4, 1, 1, 64), name="CONV_2D"),
         "1 of 1 operators with weights, CONV_2D (y): has a scale per channel instead of blocks of "
         "64: only FULLY_CONNECTED can have blocks."),
        ("block:48", report(),
         f"{ONE} channel instead of blocks of 48: its 64 inputs are not a multiple of 48."),
        ("channel", report("block:32"), f"{ONE} block of 32 instead of per channel."),
        ("channel", report(dtype="int8"),
         "1 of 1 operators with weights, FULLY_CONNECTED (y): has int8 weights instead of int4."),
        ("channel", report(precision="dynamic"),
         "1 of 1 operators with weights, FULLY_CONNECTED (y): computes in dynamic instead of "
         "float."),
    ],
)  # fmt: skip
def test_each_operator_has_the_weights_that_were_requested(
    asked: str, operator: OperatorReport, problem: str | None
) -> None:
    assert problems(asked, operator) == ([] if problem is None else [problem])


def test_three_operators_are_named_for_each_reason() -> None:
    rest = "has a scale per tensor instead of per channel."
    many = [report("tensor", output=f"y{n};fused") for n in range(5)]
    named = ", ".join(f"FULLY_CONNECTED (y{n})" for n in range(3))
    assert problems("channel", *many[:2], report()) == [
        "2 of 3 operators with weights, FULLY_CONNECTED (y0), FULLY_CONNECTED (y1): each " + rest
    ]
    assert problems("channel", *many[:3]) == [
        f"3 of 3 operators with weights, {named}: each {rest}"
    ]
    assert problems("channel", *many, report(dtype="int8")) == [
        f"5 of 6 operators with weights, {named} and 2 more: each {rest}",
        "1 of 6 operators with weights, FULLY_CONNECTED (y): has int8 weights instead of int4.",
    ]


@pytest.mark.parametrize("dtype", [None, "int32"])
def test_operators_without_weights_are_no_proof(dtype: str | None) -> None:
    bare = report(dtype=dtype)
    assert problems("channel", bare) == ["the model has no operator with stored weights."]
    assert problems("channel", bare, report()) == []
