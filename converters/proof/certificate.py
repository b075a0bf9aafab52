"""The certificate: what an exported `.tflite` really is, read from its bytes alone."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeq.converters.graph import layout
from edgeq.converters.proof.weight_proof import judge_weight_only
from edgeq.converters.proof.wide_ends import find_wide
from edgeq.converters.quantization.selectors import NO_MIX, Mix
from edgeq.converters.writer.storage import MIN_ELEMENTS
from edgeq.tflite import flatbuffer, kernels
from edgeq.tflite.model_file import ModelFile, read_model
from edgeq.tflite.operators import CHANNEL_AXIS, CONVERTING, having
from edgeq.values import Certificate, OperatorReport, TensorSpec
from edgeq.values.schemes import Scheme

_CONVERTS = having("converts")
Tensors = tuple[int, ...]
_MOST_LISTED = 5  # operators named in one sentence


def certify(model: str | Path | ModelFile) -> Certificate:
    """Read a `.tflite` back and state what it is.

    Raises:
        SourceError: unreadable or damaged.
    """
    file = read_model(model)
    tree, (inputs, outputs) = file.tree, file.interface
    operators: list[OperatorReport] = []
    islands = 0
    flex: list[str] = []
    custom: list[str] = []
    bare: list[str] = []
    wide_inputs: list[str] = []
    wide_outputs: list[str] = []
    for graph in tree.subgraphs:
        converted = _converted(tree, graph)
        reports = [
            _report(tree, graph, op, len(operators) + n, converted)
            for n, op in enumerate(graph.operators)
        ]
        front, tail = find_wide(tree, graph, reports)
        wide_inputs += [reports[place].output for place in sorted(front)]
        wide_outputs += [reports[place].output for place in sorted(tail)]
        islands += _count_islands(graph, reports, front | tail)
        for operator, report in zip(graph.operators, reports, strict=True):
            if tree.operatorCodes[operator.opcodeIndex].customCode is not None:
                (flex if report.name.startswith("Flex") else custom).append(report.name)
            weights = layout.stored_weights(tree, graph, operator, report.name)
            is_float = report.weight_dtype == "float32"
            if weights is not None and is_float and math.prod(weights.shape) >= MIN_ELEMENTS:
                bare.append(flatbuffer.text(weights.tensor.name))
        operators += reports
    known = [op.is_per_channel for op in operators if op.is_per_channel is not None]
    activations = list(layout.quantized_activations(tree))
    by_dtype: dict[str, list[Any]] = {}
    for tensor in activations:
        by_dtype.setdefault(flatbuffer.dtype(tensor), []).append(tensor)
    return Certificate(
        inputs=inputs,
        outputs=outputs,
        operators=tuple(operators),
        float_islands=islands,
        quantize_ops=sum(op.name == "QUANTIZE" for op in operators),
        dequantize_ops=sum(op.name == "DEQUANTIZE" for op in operators),
        flex_ops=tuple(sorted(set(flex))),
        custom_ops=tuple(sorted(set(custom))),
        is_per_channel=any(known) if known else None,
        unquantized_weights=tuple(dict.fromkeys(bare)),
        min_runtime_version=flatbuffer.min_runtime_version(tree),
        size_bytes=len(file.content),
        weights_symmetric=layout.is_symmetric(list(layout.quantized_weights(tree))),
        activations_symmetric=layout.is_symmetric(activations),
        activation_dtypes=tuple(sorted(by_dtype)),
        symmetric_activation_dtypes=tuple(
            dtype for dtype in sorted(by_dtype) if layout.is_symmetric(by_dtype[dtype])
        ),
        wide_inputs=tuple(wide_inputs),
        wide_outputs=tuple(wide_outputs),
    )


def _report(
    tree: Any, graph: Any, operator: Any, index: int, converted: Mapping[Tensors, list[Tensors]]
) -> OperatorReport:
    name = flatbuffer.operator_name(tree, operator)
    outputs = _named_outputs(graph, operator, converted)
    weights = layout.stored_weights(tree, graph, operator, name)
    dtype = None if weights is None else flatbuffer.dtype(weights.tensor)
    is_quantized = dtype in ("int8", "int4", "uint8")
    granularity = weights.granularity if weights is not None and is_quantized else None
    return OperatorReport(
        index=index,
        name=name,
        output=flatbuffer.tensor_name(graph, outputs[0]) if outputs else "",
        precision=_precision(tree, graph, operator, name, weights),
        weight_dtype=dtype,
        is_per_channel=None if granularity is None else granularity != "tensor",
        version=tree.operatorCodes[operator.opcodeIndex].version,
        weight_shape=() if weights is None else weights.shape,
        granularity=granularity,
        is_symmetric=layout.is_symmetric([weights.tensor]) if weights and granularity else None,
    )


def _converted(tree: Any, graph: Any) -> dict[Tensors, list[Tensors]]:
    """The results of the operators that only convert, by their inputs."""
    found: dict[Tensors, list[Tensors]] = {}
    for operator in graph.operators:
        if flatbuffer.operator_name(tree, operator) in CONVERTING:
            inputs = flatbuffer.indices(operator.inputs)
            found.setdefault(inputs, []).append(flatbuffer.indices(operator.outputs))
    return found


def _named_outputs(
    graph: Any, operator: Any, converted: Mapping[Tensors, list[Tensors]]
) -> Tensors:
    """The tensors that name an operator's results: a conversion may give the model's output."""
    own, ends = flatbuffer.indices(operator.outputs), set(flatbuffer.indices(graph.outputs))
    seen, pending = {own}, [own]
    while pending:  # a damaged file may convert in a circle
        found = pending.pop()
        if ends & set(found):
            return found
        new = [results for results in converted.get(found, ()) if results not in seen]
        seen.update(new)
        pending += reversed(new)
    return own


def _precision(
    tree: Any, graph: Any, operator: Any, name: str, weights: layout.StoredWeights | None
) -> str:
    if name in _CONVERTS:
        return "convert"
    activations = {
        flatbuffer.dtype(graph.tensors[index])
        for index in (*flatbuffer.indices(operator.inputs), *flatbuffer.indices(operator.outputs))
        if index >= 0 and not flatbuffer.is_constant(tree, graph.tensors[index])
    }
    if activations & {"float32", "float16", "float64", "bfloat16"}:
        dtype = "" if weights is None else flatbuffer.dtype(weights.tensor)
        if weights is None or dtype not in ("int8", "int4", "float16"):
            return "float32"
        return "fp16" if dtype == "float16" else "weight-only" if weights.is_widened else "dynamic"
    if activations & {"int8", "uint8"}:
        return "int8"  # a fused INT8 LSTM keeps its cell state in INT16, by its specification
    if "int16" in activations:
        return "int16x8"
    return "integer"


def _count_islands(graph: Any, reports: Sequence[OperatorReport], wide: Collection[int]) -> int:
    """Groups of float compute operators connected through their tensors, without the wide ones."""
    group_of: dict[int, int] = {}  # tensor to group
    merged: dict[int, int] = {}

    def root(group: int) -> int:
        while merged[group] != group:
            group = merged[group]
        return group

    for number, (operator, report) in enumerate(zip(graph.operators, reports, strict=True)):
        is_float = report.precision in ("float32", "dynamic", "fp16", "weight-only")
        if not is_float or number in wide:
            continue
        merged[number] = number
        # Constants join nothing: two islands may well share a table.
        touched = [i for i in flatbuffer.indices(operator.inputs) if i in group_of]
        for index in touched:
            merged[root(group_of[index])] = number
        for index in flatbuffer.indices(operator.outputs):
            group_of[index] = number
    return len({root(group) for group in merged})


# ---------------------------------------------------------------- judging it


def judge(
    certificate: Certificate,
    scheme: Scheme,
    io: str,
    granularity: str,
    float_inputs: Sequence[TensorSpec],
    float_outputs: Sequence[TensorSpec],
    mix: Mix = NO_MIX,
) -> Certificate:
    """The certificate with the reasons why the file is not as requested.

    Args:
        float_inputs: of the float model; integer inputs (token ids) keep their dtype.
        float_outputs: of the float model.
        mix: operators of an INT8 model that were requested in another precision.
    """
    problems = [
        *_judge_operators(certificate, scheme, mix),
        *_judge_interface("input", certificate.inputs, float_inputs, io, mix.wide.inputs),
        *_judge_interface("output", certificate.outputs, float_outputs, io, mix.wide.outputs),
        *_judge_weights(certificate, scheme, granularity, frozenset(mix.keep_float)),
    ]
    return replace(certificate, problems=tuple(problems))


def _judge_operators(certificate: Certificate, scheme: Scheme, mix: Mix) -> list[str]:
    narrow = {op.output for op in certificate.operators if op.weight_dtype == "int4"}
    if lost := sorted(set(mix.int4) - narrow):
        return [f"{len(lost)} layers have no INT4 weights, as requested: {lost[0]}."]
    wide = {*certificate.wide_inputs, *certificate.wide_outputs}
    if inside := sorted(set(mix.wide.operators) - wide):
        return [f"{len(inside)} float operators are not at the model's ends: {inside[0]}."]
    kept = (*mix.keep_float, *mix.wide.operators)
    asked = {**dict.fromkeys(kept, "float32"), **dict.fromkeys(mix.int16, "int16x8")}
    given = {(op.output, op.precision) for op in certificate.operators}
    if missing := sorted(asked.items() - given):
        name, precision = missing[0]
        return [f"{len(missing)} operators are not {precision}, as requested: {name}."]
    wrong = [
        op
        for op in certificate.operators
        if op.precision not in scheme.precisions and op.output not in asked
    ]
    if not wrong:
        return []
    kinds = {op.name for op in wrong}
    known = {kind for kind in kinds if (kind, "int8") in kernels.measured()}
    lacking = sorted(kind for kind in known if not kernels.takes(kind, "int8"))
    reason = (
        f"TensorFlow Lite has no INT8 kernel for {', '.join(lacking)}"
        if lacking
        else "the quantizer left them, because an operand has no range or no integer kernel fits"
    )
    found = "/".join(sorted({op.precision for op in wrong}))
    return [
        f"{len(wrong)} of {len(certificate.operators)} operators are {found} instead of "
        f"{scheme.name}: {_list(wrong)}; {reason}."
    ]


def _list(operators: Sequence[OperatorReport]) -> str:
    named = ", ".join(f"{op.name} ({op.output})" for op in operators[:_MOST_LISTED])
    more = len(operators) - _MOST_LISTED
    return f"{named} and {more} more" if more > 0 else named


def _judge_interface(
    side: str,
    found: Sequence[TensorSpec],
    wanted: Sequence[TensorSpec],
    io: str,
    wide: Collection[str],
) -> list[str]:
    kept = {
        spec.name: spec.dtype for spec in wanted if spec.dtype != "float32" or spec.name in wide
    }
    return [
        f"{side} {spec.name!r} is {spec.dtype} instead of {kept.get(spec.name, io)}."
        for spec in found
        if spec.dtype != kept.get(spec.name, io)
    ]


def _judge_weights(
    certificate: Certificate, scheme: Scheme, granularity: str, kept: frozenset[str]
) -> list[str]:
    if scheme.precision == "weight-only":
        return judge_weight_only(certificate, scheme, granularity)
    problems = []
    has_bare = any(
        op.weight_dtype == "float32" and op.output not in kept for op in certificate.operators
    )
    if has_bare and certificate.unquantized_weights and scheme.weights != "float32":
        names = certificate.unquantized_weights
        more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
        problems.append(
            f"{len(names)} weight tensors are still float32: "
            f"{', '.join(names[:_MOST_LISTED])}{more}."
        )
    if scheme.precision == "dynamic" and all(
        op.precision != "dynamic" for op in certificate.operators
    ):
        problems.append(
            f"no weights are INT8: none of its filters has {MIN_ELEMENTS} elements or more."
        )
    if granularity == "tensor" and certificate.is_per_channel:
        problems.append("weights are quantized per channel instead of per tensor.")
    if granularity == "channel" and (found := _with_one_scale(certificate)):
        problems.append(f"weights of {_list(found)} are quantized per tensor, not per channel.")
    return problems


def _with_one_scale(certificate: Certificate) -> list[OperatorReport]:
    """Layers of several channels that should have a scale for each, and have one."""
    found = [
        op
        for op in certificate.operators
        if op.name in CHANNEL_AXIS
        and op.granularity == "tensor"
        and op.weight_shape[CHANNEL_AXIS[op.name]] > 1
    ]
    # Older converters leave dense layers so, beside convolutions that are per channel.
    is_dense = all(op.name == "FULLY_CONNECTED" for op in found)
    return [] if is_dense and certificate.is_per_channel else found
