"""The version of each operator that the writer made, after TensorFlow's op_version.cc."""

from __future__ import annotations

from typing import Any

from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import at_least
from edgeq.tflite.versions import form, version

_OLDEST = "1.5.0"


def set_version(tree: Any, graph: Any, operator: Any, name: str, dtype: str) -> None:
    """Give an operator the version of its form.

    Args:
        dtype: as in `edgeq.tflite.versions.version`.
    """
    number = version(name, dtype, form(graph, operator, name)[1])
    operator.opcodeIndex = flatbuffer.add_opcode(tree, name, number)


def set_min_runtime(tree: Any) -> None:
    """State the oldest TensorFlow Lite release that has the versions of all operators."""
    used = (
        (flatbuffer.operator_name(tree, item), tree.operatorCodes[item.opcodeIndex].version)
        for graph in tree.subgraphs
        for item in graph.operators
    )
    text = at_least(_OLDEST, used)
    flatbuffer.set_metadata(tree, "min_runtime_version", text.encode().ljust(16, b"\0"))
