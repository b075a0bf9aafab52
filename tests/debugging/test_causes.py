from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgeq.conversion.command_line import changed_flags
from edgeq.conversion.remedies import selector
from edgeq.debugging.causes import change_options, explain
from edgeq.values import ConvertOptions
from tests.nasty import WHOLE

PLAIN: dict[str, Any] = {
    "name": "a/b", "operator": "CONV_2D", "own_sqnr_db": 20.0, "effect_sqnr_db": 20.0,
    "range_use": 0.9, "saturation_share": 0.0, "weight_spread": 2.0, "is_per_channel": True,
    "input_spread": 2.0, "output_spread": 2.0, "outlier_ratio": 2.0, "bias_share": 0.1,
    "operand_ratio": 1.0, "is_float": False, "is_narrow": False, "selector": "^a/b(;|$)",
    "before": ("^a/a(;|$)", "^a/b(;|$)"), "behind": ("^a/b(;|$)", "^a/c(;|$)"),
}  # fmt: skip


INT16 = {"int16": ("^a/b(;|$)",)}
FLOAT = {"keep_float": ("^a/b(;|$)",)}
EQUALIZE = {"corrections": "equalize,bias,rounding,refit"}


@pytest.mark.parametrize(
    ("figures", "cause", "changes"),
    [
        ({}, "rounding to eight bits", (INT16,)),
        ({"effect_sqnr_db": 45.0, "input_spread": 40.0}, "its error has little effect on", ()),
        ({"own_sqnr_db": 45.0, "effect_sqnr_db": None}, "its own error is small", ()),
        (
            {"is_per_channel": False, "weight_spread": 30.0},
            "its weights share one scale, and their channels' ranges differ 30-fold",
            ({"granularity": "channel"},),
        ),
        (
            {"is_narrow": True},
            "its weights have four bits only",
            ({"weights": "int8", "int4": ()},),
        ),
        ({"saturation_share": 0.02}, "2.0% of its results lie beyond", ({"statistic": "minmax"},)),
        (
            {"operator": "CONCATENATION", "operand_ratio": 20.0},
            "it joins operands whose ranges differ 20-fold",
            (INT16, FLOAT),
        ),
        ({"operator": "ADD", "operand_ratio": 20.0}, "its operands' ranges", (INT16, FLOAT)),
        ({"is_float": True}, "only its weights are rounded", ({"scheme": "fp16"},)),
        (
            {"input_spread": 40.0},
            "the channels of its input share one scale, and their ranges differ 40-fold",
            (EQUALIZE, {"int16": PLAIN["before"]}, {"keep_float": PLAIN["before"]}),
        ),
        (
            {"input_spread": 40.0, "output_spread": 47.0},
            "the channels of its output share one scale, and their ranges differ 47-fold",
            (EQUALIZE, {"int16": PLAIN["behind"]}, {"keep_float": PLAIN["behind"]}),
        ),
        (
            {"outlier_ratio": 12.0},
            "outliers: the largest value is 12 times",
            ({"statistic": "percentile:99.99"}, {"statistic": "mse"}),
        ),
        ({"operator": "HARD_SWISH"}, "HARD_SWISH bends its input", (INT16, FLOAT)),
        ({"operator": "RSQRT"}, "RSQRT is part of a normalization", (FLOAT,)),
        ({"bias_share": 0.8}, "80% of its error is a constant", ({"corrections": "auto"},)),
        ({"range_use": 0.01}, "its values fill 1.0% of its range", ({"statistic": "mse"},)),
    ],
)
def test_each_cause_has_what_may_help(
    figures: dict[str, Any], cause: str, changes: tuple[dict[str, Any], ...]
) -> None:
    (found, *others) = explain({**PLAIN, **figures})
    assert cause in found.says
    assert found.changes == changes
    assert not others or figures.keys() & {"operator"}


def test_all_causes_are_told() -> None:
    """The one whose remedy helps is chosen later; a first match must not hide it."""
    found = explain({**PLAIN, "saturation_share": 0.008, "output_spread": 5000.0})
    assert [cause.says.split(",")[0] for cause in found] == [
        "the channels of its output share one scale",
        "0.8% of its results lie beyond its range and are cut off",
    ]


def test_a_change_adds_selectors_and_makes_room_for_float() -> None:
    base = ConvertOptions(int16=("a",), statistic="minmax")
    assert change_options(base, {"int16": ("b", "a")}).int16 == ("a", "b")
    kept = change_options(base, {"keep_float": ("c",)})
    assert (kept.keep_float, kept.io, kept.int16) == (("c",), "float32", ("a",))
    assert change_options(base, {"scheme": "fp16"}).statistic == "auto"


@pytest.mark.parametrize(
    ("figures", "name", "below", "beyond"),
    [
        ({}, "effect_sqnr_db", 39.9, 40.0),
        ({"effect_sqnr_db": None}, "own_sqnr_db", 39.9, 40.0),
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
    (plain,) = explain({**PLAIN, **figures, name: below})
    assert plain.says == "rounding to eight bits, nothing unusual"
    assert explain({**PLAIN, **figures, name: beyond})[0] != plain


@pytest.mark.parametrize("is_per_channel", [True, None])
def test_channels_with_a_scale_each_share_none(is_per_channel: bool | None) -> None:
    found = explain({**PLAIN, "is_per_channel": is_per_channel, "weight_spread": 99.0})
    assert found[0].says == "rounding to eight bits, nothing unusual"


def test_what_nobody_measured_is_no_cause() -> None:
    unknown = {"effect_sqnr_db": None, "weight_spread": None, "is_per_channel": False}
    assert explain({**PLAIN, **unknown})[0].says == "rounding to eight bits, nothing unusual"


def test_of_two_spreads_the_wider_is_blamed() -> None:
    for ours, theirs, side in (
        (40.0, 39.0, "input"),
        (40.0, 40.0, "input"),
        (39.0, 40.0, "output"),
    ):
        cause = explain({**PLAIN, "input_spread": ours, "output_spread": theirs})[0]
        assert cause.says.startswith(f"the channels of its {side} share one scale")


def test_a_selector_means_one_operator() -> None:
    names = ["m/conv/Relu;m/bn", "m/conv/Relu_1;m/bn", "m/conv/Relu"]
    assert selector("m/conv/Relu_1;m/bn", names) == "^m/conv/Relu_1(;|$)"
    assert selector("m/conv/Relu;m/bn", names) == "^m/conv/Relu;m/bn$"


@pytest.mark.parametrize("name", [text for text in WHOLE.values() if "\n" not in text])
def test_a_shell_takes_a_selector_for_one_word(name: str, tmp_path: Path) -> None:
    flags = changed_flags(ConvertOptions(), ConvertOptions(int16=(selector(name, [name]),)))
    typed = f"printf '%s\\n' {flags}"
    done = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, check=True,
                          cwd=tmp_path)  # fmt: skip
    option, word = done.stdout.rstrip("\n").split("\n")
    assert option == "--int16"
    assert re.search(word, name) is not None
    assert list(tmp_path.iterdir()) == []


def test_int8_weights_are_typed_as_flags() -> None:
    wide = {"weights": "int8", "int4": ()}
    whole, some = ConvertOptions(weights="int4"), ConvertOptions(int4=("a", "b"))
    assert changed_flags(whole, change_options(whole, wide)) == "--weights int8"
    assert changed_flags(some, change_options(some, wide)) == "(without --int4)"
    assert change_options(some, {"scheme": "fp16"}) == ConvertOptions(scheme="fp16")
