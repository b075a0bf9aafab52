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
