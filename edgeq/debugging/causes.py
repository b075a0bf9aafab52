"""From an operator's figures to the known causes of its error, and what edgeq has against each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from edgeq.tflite.operators import having
from edgeq.values import ConvertOptions

Figures = Mapping[str, Any]
# Fields of `ConvertOptions` with their values; selectors are added to the present ones.
Change = dict[str, Any]

# Eight bits have 48 dB of room. A channel whose range is a sixteenth of the widest one's has four
# bits left, 24 dB; the same for values below an outlier.
_WIDE = 16.0
_OUTLIER = 8.0
# Clipping a value costs as much as rounding thousands: one in two hundred is too many.
_SATURATED = 0.005
_SHIFTED = 0.5  # of the squared error is a constant that a bias can take away
_GOOD_DB = 40.0  # SQNR of a layer alone: the best that eight bits give
_CURVED, _JOINS, _NORMALIZES, _SUMS = map(having, ("curved", "joins", "normalizes", "sum"))

_ADDED = ("keep_float", "int16")


class Cause(NamedTuple):
    """Why an operator may have the error it has, in half a sentence, and what may help."""

    says: str
    changes: tuple[Change, ...]


class _Rule(NamedTuple):
    """A cause; `says` may name figures in braces."""

    applies: Callable[[Figures], bool]
    says: str
    changes: Callable[[Figures], tuple[Change, ...]]


def _int16(figures: Figures) -> tuple[Change, ...]:
    return ({"int16": (figures["selector"],)},)


def _float(figures: Figures) -> tuple[Change, ...]:
    return ({"keep_float": (figures["selector"],)},)


def _more_bits(figures: Figures) -> tuple[Change, ...]:
    return (*_int16(figures), *_float(figures))


def _always(*changes: Change) -> Callable[[Figures], tuple[Change, ...]]:
    return lambda _: changes


_EQUALIZED = {"corrections": "equalize,bias,rounding,refit"}

_RULES = (
    _Rule(
        lambda f: f["is_narrow"] and not f["is_float"],
        "its weights have four bits only",
        _always({"weights": "int8", "int4": ()}),
    ),
    _Rule(
        lambda f: f["is_per_channel"] is False and (f["weight_spread"] or 0) > _WIDE / 2,
        "its weights share one scale, and their channels' ranges differ {weight_spread:.0f}-fold",
        _always({"granularity": "channel"}),
    ),
    _Rule(
        lambda f: f["is_float"],
        "only its weights are rounded, its results are float",
        _always({"scheme": "fp16"}),
    ),
    _Rule(
        lambda f: f["operator"] in _JOINS and f["operand_ratio"] > _WIDE / 2,
        "it joins operands whose ranges differ {operand_ratio:.0f}-fold under one scale",
        _more_bits,
    ),
    _Rule(
        lambda f: f["operator"] in _SUMS and f["operand_ratio"] > _WIDE,
        "its operands' ranges differ {operand_ratio:.0f}-fold",
        _more_bits,
    ),
    _Rule(
        # The input is made in INT8 unless its maker has INT16 activations as well.
        lambda f: f["input_spread"] > _WIDE and f["input_spread"] >= f["output_spread"],
        "the channels of its input share one scale, and their ranges differ "
        "{input_spread:.0f}-fold",
        lambda f: (_EQUALIZED, {"int16": f["before"]}, {"keep_float": f["before"]}),
    ),
    _Rule(
        lambda f: f["output_spread"] > _WIDE,
        "the channels of its output share one scale, and their ranges differ "
        "{output_spread:.0f}-fold",
        lambda f: (_EQUALIZED, {"int16": f["behind"]}, {"keep_float": f["behind"]}),
    ),
    _Rule(
        lambda f: f["saturation_share"] > _SATURATED,
        "{saturation_share:.1%} of its results lie beyond its range and are cut off",
        _always({"statistic": "minmax"}),
    ),
    _Rule(
        lambda f: f["outlier_ratio"] > _OUTLIER,
        "its input has outliers: the largest value is {outlier_ratio:.0f} times the 99.9th "
        "percentile",
        _always({"statistic": "percentile:99.99"}, {"statistic": "mse"}),
    ),
    _Rule(
        lambda f: f["operator"] in _CURVED,
        "{operator} bends its input, so that small steps of it matter",
        _more_bits,
    ),
    _Rule(
        lambda f: f["operator"] in _NORMALIZES,
        "{operator} is part of a normalization, whose small differences and large quotients "
        "need more than eight bits",
        _float,
    ),
    _Rule(
        lambda f: f["bias_share"] > _SHIFTED,
        "{bias_share:.0%} of its error is a constant shift of its channels",
        _always({"corrections": "auto"}),
    ),
    _Rule(
        lambda f: f["range_use"] < 1 / _WIDE,
        "its values fill {range_use:.1%} of its range",
        _always({"statistic": "mse"}),
    ),
)
_HARMLESS = Cause("its error has little effect on the outputs", ())
_PASSED_ON = Cause("its own error is small; it passes on those of the layers before it", ())
_PLAIN = "rounding to eight bits, nothing unusual"


def explain(figures: Figures) -> tuple[Cause, ...]:
    """The causes that apply, the most telling first; there is always one.

    Args:
        figures: fields of a `LayerReport`; "operand_ratio", "is_float" and "is_narrow"
            (INT4 weights); "selector", which means the operator alone; and "before" and "behind",
            selectors of it and its neighbours.
    """
    effect = figures.get("effect_sqnr_db")
    if effect is not None and effect >= _GOOD_DB:
        return (_HARMLESS,)
    if effect is None and figures["own_sqnr_db"] >= _GOOD_DB:
        return (_PASSED_ON,)
    found = tuple(
        Cause(rule.says.format(**figures), rule.changes(figures))
        for rule in _RULES
        if rule.applies(figures)
    )
    return found or (Cause(_PLAIN, _int16(figures)),)


def change_options(options: ConvertOptions, change: Change) -> ConvertOptions:
    """A conversion with a change to its options.

    Operators in float gain nothing where the model's own inputs and outputs stay INT8.
    """
    fields: dict[str, Any] = {
        name: tuple(dict.fromkeys((*getattr(options, name), *value))) if name in _ADDED else value
        for name, value in change.items()
    }
    if "keep_float" in fields:
        fields["io"] = "float32"
    if "scheme" in fields:
        fields |= {"io": None, "statistic": "auto", "corrections": "auto"}
        fields |= {"weights": "int8", "int4": ()}
    return replace(options, **fields)
