from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgeq.debugging.causes import explain, selector
from tests.nasty import WHOLE

PLAIN: dict[str, Any] = {
    "name": "a/b", "operator": "CONV_2D", "own_sqnr_db": 20.0, "effect_sqnr_db": 20.0,
    "range_use": 0.9, "saturation_share": 0.0, "weight_spread": 2.0, "is_per_channel": True,
    "input_spread": 2.0, "output_spread": 2.0, "outlier_ratio": 2.0, "bias_share": 0.1,
    "operand_ratio": 1.0, "is_float": False, "selector": "'^a/b(;|$)'",
    "int16_before": "--int16 '^a/a(;|$)' --int16 '^a/b(;|$)'",
    "int16_behind": "--int16 '^a/b(;|$)' --int16 '^a/c(;|$)'",
}  # fmt: skip


@pytest.mark.parametrize(
    ("figures", "cause", "remedy"),
    [
        ({}, "rounding to eight bits", "--int16 '^a/b(;|$)'"),
        ({"effect_sqnr_db": 45.0}, "its error hardly reaches the outputs", "leave it"),
        ({"own_sqnr_db": 45.0}, "its own error is small", "mend the layers before it"),
        (
            {"is_per_channel": False, "weight_spread": 30.0},
            "its weights share one scale, and their channels' ranges differ 30-fold",
            "--granularity channel",
        ),
        ({"saturation_share": 0.02}, "2.0% of its results lie beyond", "--statistic minmax"),
        (
            {"operator": "CONCATENATION", "operand_ratio": 20.0},
            "it joins operands whose ranges differ 20-fold",
            "--int16 '^a/b(;|$)'",
        ),
        ({"operator": "ADD", "operand_ratio": 20.0}, "its operands' ranges differ", "--int16"),
        ({"is_float": True}, "only its weights are rounded", "whose weights have more bits"),
        ({"input_spread": 40.0}, "the channels of its input share one scale", "equalize"),
        ({"input_spread": 40.0}, "ranges differ 40-fold", "'^a/a(;|$)' --int16 '^a/b(;|$)'"),
        ({"output_spread": 40.0}, "the channels of its output share one scale", "equalize"),
        (
            {"input_spread": 40.0, "output_spread": 47.0},
            "the channels of its output share one scale, and their ranges differ 47-fold",
            "'^a/b(;|$)' --int16 '^a/c(;|$)'",
        ),
        ({"outlier_ratio": 12.0}, "outliers: the largest value is 12 times", "percentile:99.99"),
        ({"operator": "HARD_SWISH"}, "HARD_SWISH bends its input", "--keep-float '^a/b(;|$)'"),
        ({"operator": "RSQRT"}, "RSQRT is part of a normalization", "--keep-float"),
        ({"bias_share": 0.8}, "80% of its error is a constant shift", "--corrections bias"),
        ({"range_use": 0.01}, "its values fill 1.0% of its range", "--statistic mse"),
    ],
)
def test_each_cause_has_its_remedy(figures: dict[str, Any], cause: str, remedy: str) -> None:
    found = explain({**PLAIN, **figures})
    assert cause in found[0]
    assert remedy in found[1]


@pytest.mark.parametrize(
    ("figures", "name", "below", "beyond"),
    [
        ({}, "effect_sqnr_db", 39.9, 40.0),
        ({}, "own_sqnr_db", 39.9, 40.0),
        ({"is_per_channel": False}, "weight_spread", 8.0, 8.1),
        ({}, "saturation_share", 0.005, 0.0051),
        ({"operator": "CONCATENATION"}, "operand_ratio", 8.0, 8.1),
        ({"operator": "ADD"}, "operand_ratio", 16.0, 16.1),
        ({"operator": "SUB"}, "operand_ratio", 16.0, 16.1),
        ({"output_spread": 16.0}, "input_spread", 16.0, 16.1),
        ({"input_spread": 16.0}, "output_spread", 16.0, 16.1),
        ({}, "outlier_ratio", 8.0, 8.1),
        ({}, "bias_share", 0.5, 0.51),
        ({}, "range_use", 1 / 16, 0.062),
    ],
)
def test_a_cause_begins_beyond_its_limit(
    figures: dict[str, Any], name: str, below: float, beyond: float
) -> None:
    plain, _ = explain({**PLAIN, **figures, name: below})
    assert plain == "rounding to eight bits, nothing unusual"
    assert explain({**PLAIN, **figures, name: beyond})[0] != plain


@pytest.mark.parametrize("is_per_channel", [True, None])
def test_channels_with_a_scale_each_share_none(is_per_channel: bool | None) -> None:
    found = explain({**PLAIN, "is_per_channel": is_per_channel, "weight_spread": 99.0})
    assert found[0] == "rounding to eight bits, nothing unusual"


def test_what_nobody_measured_is_no_cause() -> None:
    unknown = {"effect_sqnr_db": None, "weight_spread": None, "is_per_channel": False}
    assert explain({**PLAIN, **unknown})[0] == "rounding to eight bits, nothing unusual"


def test_of_two_spreads_the_wider_is_blamed() -> None:
    for ours, theirs, side in (
        (40.0, 39.0, "input"),
        (40.0, 40.0, "input"),
        (39.0, 40.0, "output"),
    ):
        cause, _ = explain({**PLAIN, "input_spread": ours, "output_spread": theirs})
        assert cause.startswith(f"the channels of its {side} share one scale")


def test_a_selector_means_one_operator() -> None:
    names = ["m/conv/Relu;m/bn", "m/conv/Relu_1;m/bn", "m/conv/Relu"]
    assert selector("m/conv/Relu_1;m/bn", names) == "'^m/conv/Relu_1(;|$)'"
    assert selector("m/conv/Relu;m/bn", names) == "'^m/conv/Relu;m/bn$'"


@pytest.mark.parametrize("name", [text for text in WHOLE.values() if "\n" not in text])
def test_a_shell_takes_a_selector_for_one_word(name: str, tmp_path: Path) -> None:
    typed = f"printf '%s\\n' --int16 {selector(name, [name])}"
    done = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, check=True,
                          cwd=tmp_path)  # fmt: skip
    option, word = done.stdout.rstrip("\n").split("\n")
    assert option == "--int16"
    assert re.search(word, name) is not None
    assert list(tmp_path.iterdir()) == []
