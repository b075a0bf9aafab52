"""Predict where the compiler of the Coral Edge TPU places operators, by its documented list.

`edge_tpu.toml` has the list with its sources. The compiler places operators on the accelerator up
to the first one that it cannot map, and all after it on the processor (Axis, ARTPEC-7 optimization
tips, read on 30 November 2026).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import tomlkit

from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import ModelFile
from edgeq.values import Document, EdgeTpuFit, EdgeTpuOperator, OperatorReport

TABLE = Path(__file__).parent / "edge_tpu.toml"

_INTEGERS = ("int8", "uint8")
_WITHOUT_ACTIVATION = ("AVERAGE_POOL_2D", "CONCATENATION", "MAX_POOL_2D")
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_MOST_SOFTMAX = 16_000


@cache
def _table() -> Mapping[str, Any]:
    found: dict[str, Any] = tomlkit.parse(TABLE.read_text("utf-8")).unwrap()
    return found


def sources() -> tuple[Document, ...]:
    """The documents of the list."""
    return tuple(Document(**source) for source in _table()["sources"].values())


def predict(model: ModelFile, reports: Sequence[OperatorReport]) -> EdgeTpuFit:
    """Predict the placement of each operator; the compiler is not run.

    Args:
        model: the `.tflite`.
        reports: the operators of its certificate.
    """
    graph = model.tree.subgraphs[0]
    placed: list[EdgeTpuOperator] = []
    stopped: EdgeTpuOperator | None = None
    for number, report in enumerate(reports):
        operator = graph.operators[number] if number < len(graph.operators) else None
        place, reason = _place(model.tree, graph, operator, report)
        if stopped is not None and place == "edge tpu":
            place = stopped.place
            reason = f"it follows {stopped.operator}, and only one part of a model is mapped"
        item = EdgeTpuOperator(report.index, report.name, report.output, place, reason)
        placed.append(item)
        # A conversion of an input at the beginning does not end the part that is mapped.
        is_first = report.name == "QUANTIZE" and all(other.place == "cpu" for other in placed)
        if place != "edge tpu" and stopped is None and not is_first:
            stopped = item
    mapped = sum(item.place == "edge tpu" for item in placed)
    share = 100 * mapped / len(placed) if placed else 0.0
    return EdgeTpuFit(sources(), tuple(placed), share)


def _place(tree: Any, graph: Any, operator: Any, report: OperatorReport) -> tuple[str, str]:
    if operator is None:
        return "cpu", "it is in a second subgraph"
    if tree.operatorCodes[operator.opcodeIndex].customCode is not None:
        return "cpu", "a custom operator"  # perhaps with the name of a builtin one
    if report.name in _table()["unread"]["names"]:
        return "unknown", "the list that was read does not have it; a newer one may"
    if report.name not in _table()["operators"]:
        return "cpu", "the list does not have it"
    reason = _fault(tree, graph, operator, report)
    return ("edge tpu", "") if reason is None else ("cpu", reason)


def _fault(tree: Any, graph: Any, operator: Any, report: OperatorReport) -> str | None:
    """Why the documented limitations exclude an operator; None where those checked here do not."""
    computed = [
        graph.tensors[index]
        for index in (*flatbuffer.indices(operator.inputs), *flatbuffer.indices(operator.outputs))
        if index >= 0 and not flatbuffer.is_constant(tree, graph.tensors[index])
    ]
    faults = [fault for tensor in computed if (fault := _tensor_fault(tensor)) is not None]
    return faults[0] if faults else _option_fault(operator.builtinOptions, report.name, computed)


def _tensor_fault(tensor: Any) -> str | None:
    if flatbuffer.dtype(tensor) not in _INTEGERS:
        return f"a tensor of {flatbuffer.dtype(tensor)}"
    # Only the batch of a fixed shape may be declared open.
    if any(side < 0 for side in flatbuffer.indices(tensor.shapeSignature)[1:]):
        return "a tensor without a fixed shape"
    outer = flatbuffer.indices(tensor.shape)[:-3]
    return "more than three dimensions above 1" if any(side > 1 for side in outer) else None


def _option_fault(options: Any, name: str, computed: list[Any]) -> str | None:
    if name in _WITHOUT_ACTIVATION and options.fusedActivationFunction:
        return "a fused activation"
    if name in _CONVOLUTIONS and options.dilationHFactor != options.dilationWFactor:
        return "different dilations in x and y"
    sides = (side for tensor in computed for side in flatbuffer.indices(tensor.shape))
    if name == "SOFTMAX" and max(sides, default=1) > _MOST_SOFTMAX:
        return f"an input of more than {_MOST_SOFTMAX:,} elements"
    if name == "STRIDED_SLICE" and (options.ellipsisMask or options.newAxisMask):
        return "an ellipsis or a new axis"
    return None
