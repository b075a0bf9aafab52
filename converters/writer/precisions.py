"""The precision that each operator of the main subgraph gets."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from edgeq.converters.graph.recurrence import find_recurrent
from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.normalization import find_inner
from edgeq.converters.rewrites.tables import Table, find_replaced, find_tables
from edgeq.converters.writer import layers
from edgeq.converters.writer.layers import find_filter
from edgeq.errors import QuantizationError
from edgeq.tflite import flatbuffer, kernels, lstm
from edgeq.tflite.operators import having
from edgeq.wording import repeat_option

_SHOWN = 4
_RECURRENT = having("recurrent")


def real_tensors(tree: Any, operator: Any) -> tuple[int, ...]:
    """The tensors of an operator that hold real values: float inputs, then float results.

    Variables are part of their operator, which alone knows their form.
    """
    tensors = tree.subgraphs[0].tensors
    touched = (*flatbuffer.indices(operator.inputs), *flatbuffer.indices(operator.outputs))
    return tuple(
        i
        for i in touched
        if i >= 0 and flatbuffer.dtype(tensors[i]) == "float32" and not tensors[i].isVariable
    )


def name_of(tree: Any, operator: Any) -> str:
    """The name by which users select an operator: that of its first result."""
    outputs = flatbuffer.indices(operator.outputs)
    return flatbuffer.tensor_name(tree.subgraphs[0], outputs[0]) if outputs else ""


def find_ends(
    tree: Any, inputs: Collection[str], outputs: Collection[str]
) -> tuple[frozenset[int], frozenset[int]]:
    """The tensors of the main subgraph's inputs and outputs with these names."""
    graph = tree.subgraphs[0]
    first, second = (
        frozenset(
            index
            for spec, index in zip(specs, flatbuffer.indices(numbers), strict=True)
            if spec.name in names
        )
        for specs, numbers, names in zip(
            flatbuffer.interface(tree),
            (graph.inputs, graph.outputs),
            (inputs, outputs),
            strict=True,
        )
    )
    return first, second


def choose_precisions(
    tree: Any, activations: str, keep_float: Collection[str] = (), int16: Collection[str] = ()
) -> list[str | None]:
    """The precision of each operator of the main subgraph.

    Args:
        tree: a float model.
        activations: "int8" or "int16", of all operators that the other arguments do not name.
        keep_float: names of operators that stay float.
        int16: names of operators with INT16 activations.

    Returns:
        "int8", "int16" or "float32", which an operator without an integer kernel gets, too; None
        for operators that touch no real values.

    Raises:
        QuantizationError: an operator in `int16` has no kernel for it, or a variable is not that of
            a recurrent layer.
    """
    _require_own_variables(tree)
    found: list[str | None] = []
    tables = choose_tables(tree, activations, {*keep_float, *int16})
    in_tables = find_replaced(tree, tables)
    for place, operator in enumerate(tree.subgraphs[0].operators):
        kind, name = flatbuffer.operator_name(tree, operator), name_of(tree, operator)
        wanted = "float32" if name in keep_float else "int16" if name in int16 else activations
        if not real_tensors(tree, operator):
            found.append(None)
        elif place in in_tables:
            found.append("int8")
        elif wanted == "float32" or _takes(tree, operator, kind, wanted):
            found.append(wanted)
        elif name in int16:
            raise QuantizationError(
                f"TensorFlow Lite has no 16x8 kernel for {kind} ({name}).",
                hint="Remove it from --int16, or keep it in float with --keep-float.",
            )
        else:
            found.append("float32")
    return found


def _require_own_variables(tree: Any) -> None:
    """Refuse variables that operators other than recurrent layers read or compute.

    Only the layers know the form of their states, so nobody could convert such a value.
    """
    graph = tree.subgraphs[0]
    uses = [
        (flatbuffer.operator_name(tree, operator), index)
        for operator in graph.operators
        for index in (*flatbuffer.indices(operator.inputs), *flatbuffer.indices(operator.outputs))
        if flatbuffer.operator_name(tree, operator) not in _RECURRENT
    ]
    ends = (*flatbuffer.indices(graph.inputs), *flatbuffer.indices(graph.outputs))
    for kind, index in (*uses, *(("the model itself", index) for index in ends)):
        if index >= 0 and graph.tensors[index].isVariable:
            name = flatbuffer.tensor_name(graph, index)
            raise QuantizationError(
                f"The tensor {name!r} is a variable that {kind} reads or computes; integers have "
                "variables inside recurrent layers only.",
                hint="--scheme dynamic and fp16 keep all activations in float.",
            )


def choose_tables(tree: Any, activations: str, named: Collection[str] = ()) -> tuple[Table, ...]:
    """The functions of one tensor that an INT8 file computes with a table of 256 values.

    Args:
        named: names of operators that have another precision.
    """
    if activations != "int8":
        return ()
    operators = tree.subgraphs[0].operators
    return tuple(
        table
        for table in find_tables(tree)
        if not any(name_of(tree, operators[place]) in named for place in table.operators)
    )


def inner_names(tree: Any) -> tuple[str, ...]:
    """Names of the operators inside normalizations, which an INT8 file computes in INT16."""
    operators = tree.subgraphs[0].operators
    return tuple(
        name_of(tree, operators[place]) for place in sorted(find_inner(Editor(tree)).operators)
    )


def recurrent_names(tree: Any) -> tuple[str, ...]:
    """Names of the operators of unrolled recurrent layers that can have INT16 activations."""
    operators = tree.subgraphs[0].operators
    in_tables = {place for table in choose_tables(tree, "int8") for place in table.operators}
    return tuple(
        name_of(tree, operators[place])
        for place in sorted(find_recurrent(tree) - in_tables)
        if _takes(tree, operators[place], flatbuffer.operator_name(tree, operators[place]), "int16")
    )


def growing_tensors(
    tree: Any, precisions: Sequence[str | None], activations: str
) -> frozenset[int]:
    """The tensors inside recurrent layers that have INT16 activations in an INT8 model."""
    if activations != "int8" or "int16" not in precisions:
        return frozenset()
    operators = tree.subgraphs[0].operators
    return frozenset(
        index
        for place in find_recurrent(tree)
        if precisions[place] == "int16"
        for index in real_tensors(tree, operators[place])
    )


def _takes(tree: Any, operator: Any, kind: str, dtype: str) -> bool:
    """Whether there is an integer kernel for an operator with its options."""
    return kernels.takes(kind, dtype) and _why_float(tree, operator, kind) is None


def _why_float(tree: Any, operator: Any, kind: str) -> str | None:
    """The reason why an operator has no integer kernel although others of its kind do."""
    if kind == lstm.NAME:
        return lstm.why_float(tree, operator)
    return layers.why_float(tree, operator, kind)


def _only_converts(tree: Any, operator: Any) -> bool:
    """Whether an operator turns integers or booleans into float32, or the other way round.

    An input of pixels in UINT8 needs it: no kernel gives integers a scale.
    """
    ends = (*flatbuffer.indices(operator.inputs), *flatbuffer.indices(operator.outputs))
    dtypes = {flatbuffer.dtype(tree.subgraphs[0].tensors[index]) for index in ends if index >= 0}
    is_conversion = flatbuffer.operator_name(tree, operator) in having("converts")
    return is_conversion and not dtypes & {"float16", "float64"}


def narrow_layers(tree: Any) -> dict[str, int]:
    """The layers that can have INT4 weights, by name, with the number of their weights."""
    graph, found = tree.subgraphs[0], {}
    for operator in graph.operators:
        kind = flatbuffer.operator_name(tree, operator)
        own = find_filter(tree, operator, kind)
        if own is not None and own.weights >= 0 and kernels.takes(kind, "int4"):
            shape = flatbuffer.indices(graph.tensors[own.weights].shape)
            found[name_of(tree, operator)] = math.prod(shape)
    return found


def refuse_islands(
    tree: Any, precisions: Sequence[str | None], keep_float: Collection[str], activations: str
) -> None:
    """Refuse a model with operators that would stay float although the user has not named them.

    Args:
        precisions: of all operators, from `choose_precisions`.
        keep_float: names of the operators that the user keeps in float.
        activations: the dtype that the others should have.

    Raises:
        QuantizationError: names the kinds of operators, and the ways out that work.
    """
    operators = tree.subgraphs[0].operators
    islands = [
        (flatbuffer.operator_name(tree, operator), name, operator)
        for operator, precision in zip(operators, precisions, strict=True)
        if precision == "float32"
        and (name := name_of(tree, operator)) not in keep_float
        and not _only_converts(tree, operator)
    ]
    if not islands:
        return
    kinds = Counter(kind for kind, *_ in islands)
    (kind, first, operator), *_ = islands
    reason = _why_float(tree, operator, kind) if kernels.takes(kind, activations) else None
    listed = [kind if count == 1 else f"{count} {kind}" for kind, count in kinds.items()]
    more = f" and {len(kinds) - _SHOWN} other kinds" if len(kinds) > _SHOWN else ""
    ways = ["--allow-float leaves them in float"]
    if len(kinds) <= _SHOWN:
        selectors = repeat_option("--keep-float", [f"type:{kind}" for kind in kinds])
        ways.append(f"{selectors} does, too, and names them")
    if activations == "int8" and "float32" not in choose_precisions(tree, "int16", keep_float):
        ways.append("--scheme int16x8 has kernels for all of them")
    ways.append("--scheme dynamic and fp16 keep all activations in float")
    raise QuantizationError(
        f"TensorFlow Lite has no {'INT8' if activations == 'int8' else '16x8'} kernel for "
        f"{', '.join(listed[:_SHOWN])}{more} (first: {first.split(';')[0]!r})"
        + ("." if reason is None else f": {reason}."),
        hint=f"{'; '.join(ways)}.",
    )
