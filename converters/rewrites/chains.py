"""Runs of operators that compute one function of one tensor, value by value.

Softplus is `LOG(1 + EXP(x))`, mish `x * TANH(LOG(1 + EXP(x)))`: several operators, which may read
one tensor several times, but a value of the result depends on one value of one tensor only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.functions import Array, evaluate, is_elementwise
from edgeq.tflite import flatbuffer


def find_sources(editor: Editor, skipped: Collection[int] = ()) -> dict[int, int]:
    """Map each tensor that is a function of one tensor to the first such tensor.

    Args:
        skipped: results of operators that belong to something else.
    """
    found: dict[int, int] = {}
    for operator in editor.operators:
        if not is_elementwise(editor, operator):
            continue
        (result,) = editor.outputs(operator)
        reads = _varying(editor, operator)
        sources = {found.get(index, index) for index in reads or ()}
        is_value = editor.dtype(result) in ("float32", "bool")
        if len(sources) != 1 or result in skipped or not is_value:
            continue
        (source,) = sources
        alike = {_shape(editor, index) for index in (*(reads or ()), source, result)}
        if editor.dtype(source) == "float32" and len(alike) == 1:
            found[result] = source
    return found


def _varying(editor: Editor, operator: Any) -> tuple[int, ...] | None:
    """The inputs of an operator that are not constants; None if a constant has several values."""
    inputs = editor.inputs(operator)
    reads = tuple(index for index in inputs if editor.value(index) is None)
    is_scalar = all(index in reads or editor.scalar(index) is not None for index in inputs)
    return reads if is_scalar and min(inputs, default=0) >= 0 else None


def _shape(editor: Editor, index: int) -> tuple[tuple[int, ...], ...]:
    """The shape as the file states it, dynamic sizes too."""
    tensor = editor.tensor(index)
    return flatbuffer.indices(tensor.shape), flatbuffer.indices(tensor.shapeSignature)


def operators_between(
    editor: Editor, source: int, result: int, within: Sequence[Any] | None = None
) -> list[Any] | None:
    """The operators that compute a tensor from another one, each behind those that it reads.

    Args:
        within: the operators that may be among them; all by default.

    Returns:
        None if the tensor depends on anything else that is not constant.
    """
    allowed = None if within is None else {id(operator) for operator in within}
    found: dict[int, Any] = {}
    seen = {source}
    pending = [result]
    while pending:
        index = pending[-1]
        operator = editor.producer(index)
        if index in seen or editor.value(index) is not None:
            pending.pop()
        elif operator is None or (allowed is not None and id(operator) not in allowed):
            return None
        elif waiting := [i for i in editor.inputs(operator) if i not in seen and i >= 0
                         and editor.value(i) is None]:  # fmt: skip
            pending += waiting
        else:
            found[id(operator)] = operator
            seen.update(editor.outputs(operator))
            pending.pop()
    return list(found.values())


def is_closed(editor: Editor, operators: Collection[Any], result: int) -> bool:
    """Whether only some operators read what they compute, apart from their result."""
    own = {id(operator) for operator in operators}
    inner = {i for operator in operators for i in editor.outputs(operator)} - {result}
    return not inner & editor.model_outputs and all(
        id(reader) in own for index in inner for reader in editor.readers(index)
    )


def run_chain(editor: Editor, operators: Sequence[Any], values: Mapping[int, Array]) -> Array:
    """The result of the last operator of a chain, for some values of its source.

    Args:
        operators: each behind those that it reads.
        values: [n], float64 or bool, of the tensors that they read and do not compute.

    Returns:
        [n].
    """
    inputs = {index for operator in operators for index in editor.inputs(operator)}
    scalars = {index: editor.scalar(index) for index in inputs}
    given = {index: np.array(number) for index, number in scalars.items() if number is not None}
    (result,) = editor.outputs(operators[-1])
    return evaluate(editor, operators, {**given, **values})[0][result]
