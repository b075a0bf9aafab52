"""Activations of several operators become the builtin operator, whose INT8 kernel is a table.

They are recognised by their values, so it does not matter which operators a tool wrote. A value
differs by at most 1e-5, or by 1e-5 of the input if that is larger than 1; approximations of erf
differ by 1e-6. The two forms of GELU differ from each other by 4.7e-4 and are told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from edgeq.converters.rewrites import functions
from edgeq.converters.rewrites.chains import (
    find_sources,
    is_closed,
    operators_between,
)
from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.folding import REFUSALS
from edgeq.converters.rewrites.functions import Array, evaluate
from edgeq.tflite import flatbuffer

# By operator: see `_operands`.
_Operands = dict[int, tuple[list[int], dict[int, Array]]]

_TOLERANCE = 1e-5
# Dense where activations bend; to 1000, because formulas may have another branch there.
_FAR = np.geomspace(12, 1000, 40)
_PROBES = np.concatenate([-_FAR[::-1], np.linspace(-12, 12, 2401), _FAR])
_MINUS_ONE = int(np.argmin(np.abs(_PROBES + 1)))
# A formula has at most 30 operators, with erf as a polynomial.
_LONGEST = 32
_LAST = frozenset({"ADD", "MAXIMUM", "MUL", "SELECT", "SELECT_V2", "SUB"})


def restore_activations(editor: Editor) -> int:
    """Replace the operators of GELU, HARD_SWISH, ELU and LEAKY_RELU by that operator."""
    chains: dict[int, list[Any]] = {}
    for result, source in find_sources(editor).items():
        chains.setdefault(source, []).append(editor.producer(result))
    done = 0
    for first, operators in chains.items():
        sources = [first, *(index for item in operators for index in editor.outputs(item))]
        place = 0
        known: _Operands = {}
        while place < len(operators):
            behind = operators[place : place + _LONGEST]
            found = _recognise(editor, sources[place], behind, known)
            place += 1
            if found is not None:
                count, kind, options = found
                (result,) = editor.outputs(behind[count])
                made = editor.new_like(result)
                editor.insert(behind[count], kind, [sources[place - 1]], [made], options=options)
                editor.replace(result, made)
                known.clear()
                done += 1
                place += count
    return done


def _recognise(
    editor: Editor, source: int, operators: Sequence[Any], cache: _Operands
) -> tuple[int, str, Any] | None:
    """The longest formula that begins at a tensor: number of its last operator, name, options."""
    found = None
    values = {source: _PROBES}
    operands = [_operands(editor, operator, cache) for operator in operators]
    if all(len(reads) < 2 for reads, _ in operands):
        return None  # each of these activations combines two functions of its input
    for number, (operator, (reads, scalars)) in enumerate(zip(operators, operands, strict=True)):
        if not values.keys() >= set(reads):
            continue
        (result,) = editor.outputs(operator)
        try:
            values[result] = evaluate(editor, [operator], {**scalars, **values})[0][result]
        except REFUSALS:  # a damaged file: the interpreter will report it
            return found
        if editor.kind(operator) in _LAST and editor.dtype(result) == "float32":
            known = _name(values[result])
            own = operators_between(editor, source, result, operators) if known else None
            if known and own and len(own) > 1 and is_closed(editor, own, result):
                found = (number, *known)
    return found


def _operands(
    editor: Editor, operator: Any, known: _Operands
) -> tuple[list[int], dict[int, Array]]:
    """Return the tensors that an operator reads, and the constants of one value that it reads."""
    if id(operator) not in known:
        inputs = editor.inputs(operator)
        scalars = {index: editor.scalar(index) for index in inputs}
        known[id(operator)] = (
            [index for index in inputs if editor.value(index) is None],
            {index: np.array(number) for index, number in scalars.items() if number is not None},
        )
    return known[id(operator)]


def _name(values: Array) -> tuple[str, Any] | None:
    """The operator that has these values at `_PROBES`, with its options."""
    kit = flatbuffer.schema()
    for kind, is_approximate, expected in _known():
        if _is_near(values, expected):
            options = kit.GeluOptionsT() if kind == "GELU" else kit.HardSwishOptionsT()
            if kind == "GELU":
                options.approximate = is_approximate
            return kind, None if kind == "ELU" else options
    slope = float(-values[_MINUS_ONE])
    if 0 < slope < 1 and _is_near(values, np.where(_PROBES < 0, slope * _PROBES, _PROBES)):
        leaky = kit.LeakyReluOptionsT()
        leaky.alpha = slope
        return "LEAKY_RELU", leaky
    return None


@cache
def _known() -> tuple[tuple[str, bool, Array], ...]:
    return (
        ("GELU", False, functions.gelu(_PROBES)),
        ("GELU", True, functions.gelu(_PROBES, approximate=True)),
        ("HARD_SWISH", False, functions.hard_swish(_PROBES)),
        ("ELU", False, functions.elu(_PROBES)),
    )


def _is_near(values: Array, expected: Array) -> bool:
    if not abs(values[_MINUS_ONE] - expected[_MINUS_ONE]) < _TOLERANCE:  # most differ here
        return False
    margin = _TOLERANCE * np.maximum(1, np.abs(_PROBES))
    return bool((np.abs(values - expected) <= margin).all())
