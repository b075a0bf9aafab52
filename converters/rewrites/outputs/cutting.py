"""Cut a model off at named tensors, and name what chooses boxes inside a model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.outputs.parts import sign
from edgeq.converters.rewrites.subgraphs import drop_uncalled
from edgeq.errors import UsageError
from edgeq.tflite import flatbuffer
from edgeq.tflite.compacting import drop_unused
from edgeq.tflite.flatbuffer import indices

# Operators that suppress overlapping boxes, and how many tensors before them are boxes and scores.
_CHOOSING = {
    "NON_MAX_SUPPRESSION_V4": 2,
    "NON_MAX_SUPPRESSION_V5": 2,
    "TFLite_Detection_PostProcess": 2,
}
_SHOWN = 6


def cut_outputs(content: bytes, names: Sequence[str]) -> bytes:
    """Return the model with these tensors as its outputs, without what only others need.

    Args:
        names: of tensors of the main subgraph, or their first parts up to ";".

    Raises:
        UsageError: no computed tensor has a name, or several have.
    """
    tree = flatbuffer.parse(content, "the float model")
    graph = tree.subgraphs[0]
    chosen = [_find(tree, name) for name in names]
    if len(set(chosen)) < len(chosen):
        raise UsageError(f"--outputs names the same tensor twice: {', '.join(names)}.")
    inputs, _ = flatbuffer.interface(tree)
    graph.outputs = np.array(chosen, np.int32)
    sign(tree, [spec.name for spec in inputs], list(names))
    editor = Editor(tree)
    editor.remove_unread()
    drop_uncalled(tree)
    drop_unused(tree)
    return flatbuffer.serialize(tree)


def _find(tree: Any, name: str) -> int:
    graph = tree.subgraphs[0]
    _, outputs = flatbuffer.interface(tree)
    named = dict(zip((spec.name for spec in outputs), indices(graph.outputs), strict=True))
    made = [index for operator in graph.operators for index in indices(operator.outputs)]
    exact = [named[name]] if name in named else []
    exact = exact or [index for index in made if flatbuffer.tensor_name(graph, index) == name]
    found = exact or [
        index for index in made if flatbuffer.tensor_name(graph, index).split(";")[0] == name
    ]
    if len(found) == 1:
        return int(found[0])
    if found:
        raise UsageError(
            f"--outputs {name!r} is the name of {len(found)} tensors.", hint="Write a whole name."
        )
    last = [flatbuffer.tensor_name(graph, index).split(";")[0] for index in made[-_SHOWN:]]
    raise UsageError(
        f"--outputs {name!r}: the model computes no tensor with this name.",
        hint=f"The last ones are {', '.join(map(repr, last))}; edgeq inspect --all lists them.",
    )


def find_choosing(tree: Any, kept: Collection[str]) -> tuple[str, tuple[str, ...]] | None:
    """Return the first operator that suppresses overlapping boxes, and the tensors before it.

    Args:
        kept: names of operators that are not looked at.

    Returns:
        Its name, and the computed tensors that it takes boxes and scores from, before operators
        that only reshape them; None if there is no such operator.
    """
    graph = tree.subgraphs[0]
    makers = {made: one for one in graph.operators for made in indices(one.outputs)}
    for operator in graph.operators:
        kind = flatbuffer.operator_name(tree, operator)
        if kind not in _CHOOSING:
            continue
        if flatbuffer.tensor_name(graph, indices(operator.outputs)[0]) not in kept:
            read = indices(operator.inputs)[: _CHOOSING[kind]]
            sources = [_before(tree, makers, index) for index in read]
            names = [flatbuffer.tensor_name(graph, index).split(";")[0] for index in sources]
            return kind, tuple(dict.fromkeys(names))
    return None


def _before(tree: Any, makers: dict[int, Any], index: int) -> int:
    """The tensor before slices and reshapes, with a box for each row: a batch is kept."""
    while index in makers:
        kind = flatbuffer.operator_name(tree, makers[index])
        if kind not in ("RESHAPE", "SQUEEZE", "STRIDED_SLICE", "SLICE", "GATHER"):
            break
        index = indices(makers[index].inputs)[0]
    return index
