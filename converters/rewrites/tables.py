"""Functions of one tensor without an INT8 kernel: a table of the 256 values that INT8 can have.

Kernels exist everywhere (LiteRT, tflite-runtime, tflite-micro): CAST to INT32, ADD 128, GATHER from
the table. Only the result is rounded, so no INT8 kernel could be better. While the model is
float, its operators stay: calibration needs the ranges. The writer replaces them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.rewrites.chains import find_sources, operators_between, run_chain
from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.folding import REFUSALS
from edgeq.converters.rewrites.normalization import find_inner
from edgeq.errors import QuantizationError
from edgeq.tflite import flatbuffer, kernels, quantmath
from edgeq.values import TensorSpec

# Their results may span many powers of ten, or have a pole, so 8 bits between two operators ruin
# what follows. DIV even stops the inference where its INT8 divisor is zero.
_STEEP = frozenset({"DIV", "EXP", "LOG", "POW", "RSQRT", "SQRT"})
# Their operands have values that the result never takes, but 8 bits have to hold them, too.
_CHOOSING = frozenset({"SELECT", "SELECT_V2"})


@dataclass(frozen=True)
class Table:
    """Operators that compute one tensor from another one, value by value.

    Attributes:
        source: index of the tensor that they read.
        result: index of the tensor that they compute.
        operators: their positions in the main subgraph, in execution order.
    """

    source: int
    result: int
    operators: tuple[int, ...]


def runs_anywhere(operator: str, dtype: str) -> bool:
    """Whether ai-edge-litert and the last tflite-runtime have a kernel for an operator in a dtype.

    SQRT and LOG in INT8 have kernels in newer releases only, where a table runs in all.
    """
    return not any(kernels.missing(operator, dtype, it) for it in ("litert", "tflite-runtime"))


def find_tables(tree: Any, takes: Callable[[str, str], bool] = runs_anywhere) -> tuple[Table, ...]:
    """Chains of operators that have to become tables in an INT8 file.

    Args:
        tree: the float model.
        takes: whether there is a kernel for an operator in a dtype.
    """
    editor = Editor(tree)
    places = {id(operator): place for place, operator in enumerate(editor.operators)}
    inner = find_inner(editor).operators
    skipped = {i for place in inner for i in editor.outputs(editor.operators[place])}
    sources = find_sources(editor, skipped)
    found = []
    for result, source in sources.items():
        if editor.dtype(result) != "float32" or not _is_read_elsewhere(editor, result, sources):
            continue
        own = operators_between(editor, source, result) or []
        if _needs_table(editor, own, takes):
            positions = tuple(sorted(places[id(operator)] for operator in own))
            found.append(Table(source, result, positions))
    return tuple(found)


def _is_read_elsewhere(editor: Editor, index: int, sources: dict[int, int]) -> bool:
    """Whether a tensor leaves the chain, so that it has to be computed."""
    return index in editor.model_outputs or any(
        sources.get(result) != sources[index]
        for reader in editor.readers(index)
        for result in editor.outputs(reader)
    )


def _needs_table(editor: Editor, operators: list[Any], takes: Callable[[str, str], bool]) -> bool:
    kinds = [editor.kind(operator) for operator in operators]
    is_steep = "DIV" in kinds or (len(kinds) > 1 and not _STEEP.isdisjoint(kinds))
    return (
        is_steep
        or not _CHOOSING.isdisjoint(kinds)
        or not all(takes(kind, "int8") for kind in kinds)
    )


def find_replaced(tree: Any, tables: Sequence[Table]) -> frozenset[int]:
    """Positions of the operators that tables replace: nothing else reads their results."""
    operators, results = tree.subgraphs[0].operators, {table.result for table in tables}
    own = {place for table in tables for place in table.operators}
    read = set(flatbuffer.indices(tree.subgraphs[0].outputs))
    kept = set()
    for place in range(len(operators) - 1, -1, -1):
        made = set(flatbuffer.indices(operators[place].outputs))
        if place not in own or made & read - results:
            kept.add(place)
            read |= set(flatbuffer.indices(operators[place].inputs))
    return frozenset(own - kept)


def fill_table(tree: Any, table: Table, source: TensorSpec, result: TensorSpec) -> NDArray[np.int8]:
    """The 256 INT8 values of a table, for the INT8 values -128 to 127 of its source.

    The function is computed in float64 and rounded as the QUANTIZE kernel does. Where it has no
    value (the logarithm of a negative number), the table has that of the nearest value with one.

    Args:
        tree: the float model.
        source: the quantized input.
        result: the quantized output.

    Raises:
        QuantizationError: the function has no value at all in the range of its input.
    """
    editor = Editor(tree)
    points = quantmath.dequantize(np.arange(-128, 128).astype(np.int8), source)
    own = [editor.operators[place] for place in table.operators]
    name = flatbuffer.tensor_name(tree.subgraphs[0], table.result)
    try:
        values = run_chain(editor, own, {table.source: points.astype(np.float64)})
    except REFUSALS as error:
        raise QuantizationError(f"The model is damaged: {name!r} cannot be computed.") from error
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        raise QuantizationError(
            f"{name!r} is not a number for any input from {points[0]:g} to {points[-1]:g}.",
            hint="Pass a representative dataset with realistic values.",
        )
    nearest = known[np.abs(np.arange(256)[:, None] - known).argmin(axis=1)]
    # Infinity becomes a value that is out of range.
    limits = (np.array([-256, 256]) - result.zero_points[0]) * result.scales[0]
    real = np.clip(values[nearest], *limits).astype(np.float32)
    return quantmath.quantize(real, result).astype(np.int8)


def look_up(
    tree: Any, graph: Any, source: int, result: int, entries: NDArray[np.int8]
) -> list[Any]:
    """The operators that read a table, for the caller to put into the INT8 model.

    Args:
        tree, graph: the INT8 model and its subgraph; get new tensors.
        source: index of an INT8 tensor.
        result: index of the INT8 tensor to compute, with its scale and zero point.
        entries: the 256 values of the table.
    """
    kit, tensors = flatbuffer.schema(), graph.tensors
    stem, shape = flatbuffer.tensor_name(graph, result), tensors[source].shape
    signed, index = (
        flatbuffer.add_tensor(graph, f"{stem}/{name}", shape, "int32")
        for name in ("signed", "index")
    )
    for made in (signed, index):
        tensors[made].shapeSignature = tensors[source].shapeSignature
        tensors[made].hasRank = tensors[source].hasRank
    offset = flatbuffer.add_constant(tree, graph, f"{stem}/offset", np.array(128, np.int32))
    table = flatbuffer.add_constant(tree, graph, f"{stem}/table", entries)
    tensors[table].quantization = tensors[result].quantization
    cast, add = kit.CastOptionsT(), kit.AddOptionsT()
    cast.inDataType, cast.outDataType = map(flatbuffer.dtype_code, ("int8", "int32"))
    make = partial(flatbuffer.make_operator, tree)
    return [
        make("CAST", [source], [signed], version=kernels.version("CAST", "int8"), options=cast),
        make("ADD", [signed, offset], [index], options=add),
        make(
            "GATHER",
            [table, index],
            [result],
            version=kernels.version("GATHER", "int8"),
            options=kit.GatherOptionsT(),
        ),
    ]
