"""IF becomes a part of its subgraph: the branch that is always taken, or both and a SELECT."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from edgeq.converters.rewrites.editor import ACTING, Editor
from edgeq.converters.rewrites.subgraphs import called
from edgeq.tflite import flatbuffer

# Computing these although their branch is not taken may be seen, or fail.
_ONLY_IF_TAKEN = ACTING | {
    "READ_VARIABLE", "RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL", "CUSTOM",
    "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_SIZE", "FLOOR_DIV", "FLOOR_MOD", "GATHER",
    "GATHER_ND", "EMBEDDING_LOOKUP", "DYNAMIC_UPDATE_SLICE", "SCATTER_ND",
}  # fmt: skip
_MOST_OPERATORS = 20_000


def resolve_ifs(editor: Editor) -> int:
    """Replace each IF with a constant condition by the branch that it takes: exact."""
    done = 0
    for operator in editor.of_kind("IF"):
        branches, inputs = _branches(editor, operator), editor.inputs(operator)
        value = editor.scalar(inputs[0]) if inputs else None
        if branches is None or value is None:
            continue
        taken = branches[0 if value else 1]
        if not _may_be_outputs(editor, operator, taken):
            continue
        results = _inline(editor, operator, taken)
        for old, new in zip(editor.outputs(operator), results, strict=True):
            editor.replace(old, new)
        editor.remove(operator)
        done += 1
    return done


def join_branches(editor: Editor) -> int:
    """Compute both branches of each IF, if they only compute, and select one's results: exact."""
    done = 0
    for operator in editor.of_kind("IF"):
        branches = _branches(editor, operator)
        if branches is None or not all(_only_computes(editor, graph) for graph in branches):
            continue
        condition, results = editor.inputs(operator)[0], editor.outputs(operator)
        shapes = [(editor.shape(index), editor.dtype(index)) for index in results]
        ends = [
            [(_static_shape(graph, index), flatbuffer.dtype(graph.tensors[index]))
             for index in flatbuffer.indices(graph.outputs)]
            for graph in branches
        ]  # fmt: skip
        if ends != [shapes, shapes] or any(shape is None for shape, _ in shapes):
            continue
        pairs = [_inline(editor, operator, graph) for graph in branches]
        for index, one, other in zip(results, *pairs, strict=True):
            made = editor.new_like(index)
            options = flatbuffer.schema().SelectV2OptionsT()
            editor.insert(operator, "SELECT_V2", [condition, one, other], [made], options=options)
            editor.replace(index, made)
        editor.remove(operator)
        done += 1
    return done


def _may_be_outputs(editor: Editor, operator: Any, graph: Any) -> bool:
    """Whether the branch computes a separate tensor for each output of the model."""
    made = [index for item in graph.operators for index in editor.outputs(item)]
    ends = flatbuffer.indices(graph.outputs)
    return all(
        index not in editor.model_outputs or (end in made and ends.count(end) == 1)
        for index, end in zip(editor.outputs(operator), ends, strict=True)
    )


def _branches(editor: Editor, operator: Any) -> list[Any] | None:
    """The two subgraphs of an IF; None if they do not fit it."""
    options, graphs = operator.builtinOptions, editor.tree.subgraphs
    numbers = [getattr(options, f"{side}SubgraphIndex", -1) for side in ("then", "else")]
    if any(not 0 < number < len(graphs) for number in numbers):
        return None
    if any(number in called(editor.tree, [number]) for number in numbers):
        return None  # it never ends
    found = [graphs[number] for number in numbers]
    size = sum(len(graph.operators) for graph in found) + len(editor.operators)
    ends = len(editor.inputs(operator)) - 1, len(editor.outputs(operator))
    fits = all(
        (len(flatbuffer.indices(graph.inputs)), len(flatbuffer.indices(graph.outputs))) == ends
        for graph in found
    )
    is_whole = min(editor.inputs(operator), default=-1) >= 0
    return found if fits and is_whole and size <= _MOST_OPERATORS else None


def _only_computes(editor: Editor, graph: Any) -> bool:
    """Whether nothing is seen of a branch that is computed and not taken."""
    if any(tensor.isVariable for tensor in graph.tensors):
        return False
    for operator in graph.operators:
        kind, code = editor.kind(operator), editor.tree.operatorCodes[operator.opcodeIndex]
        if kind in _ONLY_IF_TAKEN or code.customCode is not None:
            return False
        ends = editor.outputs(operator)
        if kind == "DIV" and flatbuffer.dtype(graph.tensors[ends[0]]) != "float32":
            return False  # a whole number divided by zero is an error
    return True


def _static_shape(graph: Any, index: int) -> tuple[int, ...] | None:
    tensor = graph.tensors[index]
    sizes = flatbuffer.indices(tensor.shapeSignature)
    return None if min(sizes, default=0) < 0 else flatbuffer.indices(tensor.shape)


def _inline(editor: Editor, operator: Any, graph: Any) -> list[int]:
    """Put a copy of a branch before its IF.

    Returns:
        The branch's outputs among the tensors of the editor.
    """
    arguments = editor.inputs(operator)[1:]
    place = {-1: -1} | dict(zip(flatbuffer.indices(graph.inputs), arguments, strict=True))
    for index, tensor in enumerate(graph.tensors):
        if index not in place:
            made = copy.copy(tensor)
            made.name = editor.fresh_name(flatbuffer.text(tensor.name))
            editor.graph.tensors.append(made)
            place[index] = len(editor.graph.tensors) - 1
    for item in graph.operators:
        made = copy.copy(item)
        made.builtinOptions = copy.copy(item.builtinOptions)  # rewrites may change them
        for side in ("inputs", "outputs", "intermediates"):
            vector = getattr(item, side)
            if vector is not None:
                moved = [place[index] for index in flatbuffer.indices(vector)]
                setattr(made, side, np.array(moved, np.int32))
        editor.put(operator, made)
    return [place[index] for index in flatbuffer.indices(graph.outputs)]
