"""From an operator's figures to the known cause of its error, and the remedy edgeq has for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Figures = Mapping[str, Any]

# Eight bits have 48 dB of room. A channel whose range is a sixteenth of the widest one's has four
# bits left, 24 dB; the same for values below an outlier.
_WIDE = 16.0
_OUTLIER = 8.0
# Clipping a value costs as much as rounding thousands: one in two hundred is too many.
_SATURATED = 0.005
_SHIFTED = 0.5  # of the squared error is a constant that a bias can take away
_GOOD_DB = 40.0  # of its own: as good as eight bits get
_CURVED = ("SOFTMAX", "LOGISTIC", "TANH", "HARD_SWISH", "GELU", "EXP", "ELU")
_NORMALIZING = ("SQUARED_DIFFERENCE", "RSQRT", "MEAN", "SUM", "DIV", "SQRT")


class _Rule(NamedTuple):
    """A cause; `says` and `remedy` may name figures in braces."""

    applies: Callable[[Figures], bool]
    says: str
    remedy: str


# The remedy for a layer that is no culprit.
HARMLESS = "leave it as it is"

_RULES = (
    _Rule(
        lambda f: (f.get("effect_sqnr_db") or 0) >= _GOOD_DB,
        "its error hardly reaches the outputs",
        HARMLESS,
    ),
    _Rule(
        lambda f: f["own_sqnr_db"] >= _GOOD_DB,
        "its own error is small; it passes on those of the layers before it",
        "mend the layers before it",
    ),
    _Rule(
        lambda f: f["is_per_channel"] is False and (f["weight_spread"] or 0) > _WIDE / 2,
        "its weights share one scale, and their channels' ranges differ {weight_spread:.0f}-fold",
        "--granularity channel",
    ),
    _Rule(
        lambda f: f["is_float"],
        "only its weights are rounded, its results are float",
        "a --scheme whose weights have more bits",
    ),
    _Rule(
        lambda f: f["saturation_share"] > _SATURATED,
        "{saturation_share:.1%} of its results lie beyond its range and are cut off",
        "--statistic minmax, or more representative samples",
    ),
    _Rule(
        lambda f: f["operator"] == "CONCATENATION" and f["operand_ratio"] > _WIDE / 2,
        "it joins operands whose ranges differ {operand_ratio:.0f}-fold under one scale",
        "--int16 {selector}",
    ),
    _Rule(
        lambda f: f["operator"] in ("ADD", "SUB") and f["operand_ratio"] > _WIDE,
        "its operands' ranges differ {operand_ratio:.0f}-fold",
        "--int16 {selector}",
    ),
    _Rule(
        # The input is made in INT8 unless its maker has INT16 activations as well.
        lambda f: f["input_spread"] > _WIDE and f["input_spread"] >= f["output_spread"],
        "the channels of its input share one scale, and their ranges differ "
        "{input_spread:.0f}-fold",
        "--corrections equalize,bias,rounding,refit (part of the default), or {int16_before}",
    ),
    _Rule(
        lambda f: f["output_spread"] > _WIDE,
        "the channels of its output share one scale, and their ranges differ "
        "{output_spread:.0f}-fold",
        "--corrections equalize,bias,rounding,refit (part of the default), or {int16_behind}",
    ),
    _Rule(
        lambda f: f["outlier_ratio"] > _OUTLIER,
        "its input has outliers: the largest value is {outlier_ratio:.0f} times the 99.9th "
        "percentile",
        "--statistic percentile:99.99 or mse",
    ),
    _Rule(
        lambda f: f["operator"] in _CURVED,
        "{operator} bends its input, so that small steps of it matter",
        "--int16 {selector} or --keep-float {selector}",
    ),
    _Rule(
        lambda f: f["operator"] in _NORMALIZING,
        "{operator} is part of a normalization, whose small differences and large quotients "
        "need more than eight bits",
        "--keep-float {selector}",
    ),
    _Rule(
        lambda f: f["bias_share"] > _SHIFTED,
        "{bias_share:.0%} of its error is a constant shift of its channels",
        "--corrections bias",
    ),
    _Rule(
        lambda f: f["range_use"] < 1 / _WIDE,
        "its values fill {range_use:.1%} of its range",
        "calibrate on representative samples, or --statistic mse",
    ),
    _Rule(
        lambda f: True,
        "rounding to eight bits, nothing unusual",
        "--corrections auto (the default), or --int16 {selector}",
    ),
)


def explain(figures: Figures) -> tuple[str, str]:
    """The first cause that applies and its remedy, as text.

    Args:
        figures: fields of a `LayerReport`; "operand_ratio", "is_float" and "selector"; and
            "int16_before" and "int16_behind", options that name it and its neighbours.
    """
    rule = next(rule for rule in _RULES if rule.applies(figures))
    return rule.says.format(**figures), rule.remedy.format(**figures)
