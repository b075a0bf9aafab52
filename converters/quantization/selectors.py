"""Selectors of a float model's operators, by name or by operator type."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgeq.converters.writer.precisions import inner_names, narrow_layers, recurrent_names
from edgeq.errors import UsageError
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import shared_tree

_TYPE = "type:"
_SHOWN = 4


@dataclass(frozen=True)
class WideEnds:
    """Operators that stay in float at the ends of an INT8 model, see `edgeq.conversion.wide_ends`.

    Attributes:
        operators: names of their first outputs.
        inputs: names of the inputs that stay float32.
        outputs: names of the outputs that stay float32.
        int16: names of operators that lead from such an input to layers in INT16, in INT16, too;
            and of softmaxes, see `edgeq.conversion.fine_softmaxes`.
    """

    operators: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    int16: tuple[str, ...] = ()


NOT_WIDE = WideEnds()


@dataclass(frozen=True)
class Mix:
    """Operators that do not become INT8 alone, by the names of their first outputs.

    Attributes:
        keep_float: those that stay float.
        int16: those with INT16 activations.
        int4: those with INT8 activations and INT4 weights.
        wide: those at the ends that stay float, with their inputs and outputs.
        recurrent: "int16" or "int8" activations inside unrolled recurrent layers.
    """

    keep_float: tuple[str, ...] = ()
    int16: tuple[str, ...] = ()
    int4: tuple[str, ...] = ()
    wide: WideEnds = NOT_WIDE
    recurrent: str = "int16"


NO_MIX = Mix()


def select_mix(
    content: bytes,
    keep_float: Sequence[str],
    int16: Sequence[str],
    int4: Sequence[str] = (),
    weights: str = "int8",
) -> Mix:
    """The operators that `--keep-float`, `--int16` and `--int4` select, see `select_operators`.

    Args:
        weights: "int4" selects every layer with a kernel for INT4 weights that has no other
            precision.

    Raises:
        UsageError: also if two select the same operator, or no layer of `int4` takes INT4 weights.
    """
    mix = Mix(
        select_operators(content, keep_float, "--keep-float"),
        select_operators(content, int16, "--int16"),
        _select_narrow(content, int4),
    )
    _refuse_both("--keep-float", mix.keep_float, "--int16", mix.int16)
    _refuse_both("--keep-float", mix.keep_float, "--int4", mix.int4)
    _refuse_both("--int16", mix.int16, "--int4", mix.int4)
    if weights != "int4":
        return mix
    others = {*mix.keep_float, *mix.int16}
    layers = narrow_layers(shared_tree(content, "the float model"))
    chosen = tuple(name for name in layers if name not in others)
    if not chosen:
        raise UsageError(
            "--weights int4 has no effect: the model has no convolution or fully connected layer "
            "with stored weights in INT8.",
            hint="Remove --weights int4.",
        )
    return replace(mix, int4=chosen)


def with_inner(content: bytes, mix: Mix) -> Mix:
    """The mix of an INT8 model with what loses most in INT8 in INT16.

    That is the inside of normalizations, and that of unrolled recurrent layers, in which errors add
    up from step to step.

    Args:
        content: the float flatbuffer.
    """
    tree = shared_tree(content, "the float model")
    names = inner_names(tree)
    if mix.recurrent == "int16":
        names += recurrent_names(tree)
    known = {*mix.keep_float, *mix.int16, *mix.int4, *mix.wide.operators}
    return replace(mix, int16=(*mix.int16, *(name for name in names if name not in known)))


def _select_narrow(content: bytes, selectors: Sequence[str]) -> tuple[str, ...]:
    """The layers that `--int4` selects; operators without weights that it selects do not count."""
    layers = narrow_layers(shared_tree(content, "the float model")) if selectors else {}
    chosen = []
    for selector in selectors:
        names = select_operators(content, [selector], "--int4")
        found = [name for name in names if name in layers]
        if not found:
            raise UsageError(
                f"--int4 {selector!r} matches no layer that can have INT4 weights, such as "
                f"{names[0].split(';')[0]!r}.",
                hint="CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED with stored weights can.",
            )
        chosen += found
    return tuple(dict.fromkeys(chosen))


def _refuse_both(one: str, ours: Sequence[str], other: str, theirs: Sequence[str]) -> None:
    """Refuse operators that two options select.

    Raises:
        UsageError: names the first.
    """
    both = [name for name in theirs if name in set(ours)]
    if both:
        raise UsageError(
            f"{one} and {other} contradict each other: both select {both[0].split(';')[0]!r}"
            + (f" and {len(both) - 1} more." if len(both) > 1 else "."),
            hint="Make one of the selectors narrower.",
        )


def select_operators(content: bytes, selectors: Sequence[str], option: str) -> tuple[str, ...]:
    """Operators that at least one selector matches.

    Args:
        content: the float flatbuffer.
        selectors: regular expressions, searched in the names of operators' outputs (which begin
            with the layers' names), or "type:CONV_2D", whole and in any case.
        option: that gave them, for messages.

    Returns:
        Names of the operators' first outputs, in execution order.

    Raises:
        UsageError: one cannot be read as a regular expression, or matches no operator.
    """
    tree = shared_tree(content, "the float model")
    graph = tree.subgraphs[0]
    operators = [
        (flatbuffer.operator_name(tree, op), flatbuffer.tensor_name(graph, outputs[0]))
        for op in graph.operators
        if (outputs := flatbuffer.indices(op.outputs))
    ]
    chosen: set[str] = set()
    for selector in selectors:
        pattern, own = read_selector(selector, option), selector.removeprefix(_TYPE).upper()
        found = {
            name
            for kind, name in operators
            if (kind == own if pattern is None else pattern.search(name))
        }
        if not found:
            names = ", ".join(repr(name.split(";")[0]) for _, name in operators[:_SHOWN])
            kinds = ", ".join(sorted({kind for kind, _ in operators}))
            raise UsageError(
                f"{option} {selector!r} matches none of the model's {len(operators)} operators.",
                hint=f"Their names begin {names}; types, as in type:CONV_2D, are {kinds}.",
            )
        chosen |= found
    return tuple(name for _, name in operators if name in chosen)


def read_selector(selector: str, option: str) -> re.Pattern[str] | None:
    """The regular expression, None for a selector by type.

    Raises:
        UsageError: it cannot be read as one.
    """
    if selector.startswith(_TYPE):
        return None
    try:
        return re.compile(selector)
    except re.error as error:
        raise UsageError(
            f"{option} {selector!r} cannot be read as a regular expression: {error}."
        ) from error
