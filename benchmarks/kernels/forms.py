"""Writes a case as a flatbuffer: in float, and in an integer form under a rule for its scales."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kernels import recurrent
from benchmarks.kernels.cases import Case, Operand
from edgeq.tflite import flatbuffer, lstm, quantmath
from edgeq.tflite.kernels import FIXED
from edgeq.tflite.versions import needed_version
from edgeq.values import TensorSpec

RULES = ("own", "input", "all", "fixed")
# Form to the dtype of activations, of weights and of biases.
FORMS = {
    "float32": ("float32", "float32", "float32"),
    "int8": ("int8", "int8", "int32"),
    "int16": ("int16", "int8", "int64"),
    "int16/bias32": ("int16", "int8", "int32"),
    "int4": ("int8", "int4", "int32"),
    "dynamic": ("float32", "int8", "float32"),
    "dynamic4": ("float32", "int4", "float32"),
}
_DATA = ("input", "constant")


@dataclass(frozen=True)
class Built:
    """A model and its inputs, in the order of its tensors, and what its results mean."""

    content: bytes
    inputs: tuple[NDArray[Any], ...]
    outputs: tuple[TensorSpec, ...]
    version: int


def exists(case: Case, form: str, rule: str) -> bool:
    """Whether a form differs from the other forms of a case, and can be written."""
    kinds = {item.kind for item in case.operands if item is not None}
    if case.operator == lstm.NAME:
        return (form, rule) == ("int8", "own")
    if rule == "fixed" and (case.operator, form.partition("/")[0]) not in FIXED:
        return False
    if form == "int16/bias32":
        return "bias" in kinds
    if form in ("int4", "dynamic", "dynamic4"):
        return "weights" in kinds and (rule == "own" or form == "int4")
    return True


def build(
    case: Case,
    form: str,
    rule: str = "own",
    results: tuple[NDArray[Any], ...] = (),
    activation: int = 0,
) -> Built:
    """Write a case.

    Args:
        form: a name of `FORMS`.
        rule: of `RULES`, for the scales of results.
        results: of the float model; none if it is not known yet, for the float model itself.
        activation: the fused one.
    """
    if case.operator == lstm.NAME:
        return _lstm(case, form, rule, results)
    kit = flatbuffer.schema()
    tree, graph = kit.ModelT(), kit.SubGraphT()
    tree.version, tree.operatorCodes, tree.buffers = 3, [], [kit.BufferT()]
    tree.subgraphs, graph.tensors, graph.operators = [graph], [], []
    kinds = FORMS[form]
    parameters, result = _scales(case, kinds[0], rule, results)
    inputs, indices = [], []
    for number, (operand, values) in enumerate(zip(case.operands, case.values, strict=True)):
        if operand is None or values is None:
            indices.append(-1)
            continue
        stored, spec, axis = _stored(operand, values, kinds, parameters.get(number))
        if operand.kind == "bias" and spec.dtype.startswith("int"):
            stored, spec = _bias(values, kinds[2], graph, indices, case)
        buffer = (
            0 if operand.kind == "input" else flatbuffer.add_buffer(tree, _packed(stored, spec))
        )
        index = flatbuffer.add_tensor(graph, f"in{number}", values.shape, spec.dtype, buffer)
        _set_scales(graph.tensors[index], spec, axis)
        indices.append(index)
        if operand.kind == "input":
            inputs.append(stored)
    specs, outputs = [], []
    for number, dtype in enumerate(case.outputs):
        spec = TensorSpec(f"out{number}", (), "float32" if dtype == "real" else dtype)
        if dtype == "float32" and result is not None:
            weights = (flatbuffer.tensor_spec(item, "") for item in graph.tensors)
            known = result if result.scales else next(item for item in weights if item.scales)
            spec = replace(known, name=spec.name, dtype=result.dtype)
        shape = results[number].shape if results else ()
        outputs.append(flatbuffer.add_tensor(graph, spec.name, shape, spec.dtype))
        _set_scales(graph.tensors[-1], spec, 0)
        specs.append(spec)
    chosen = _options(case, form, activation)
    made = flatbuffer.make_operator(tree, case.operator, indices, outputs, options=chosen)
    graph.operators.append(made)
    graph.inputs = np.array([n for n, t in enumerate(graph.tensors) if _is_input(t)], np.int32)
    graph.outputs = np.array(outputs, np.int32)
    version = tree.operatorCodes[0].version = needed_version(tree, graph, made)
    return Built(flatbuffer.serialize(tree), tuple(inputs), tuple(specs), version)


def _lstm(case: Case, form: str, rule: str, results: tuple[NDArray[Any], ...]) -> Built:
    given, result = _scales(case, FORMS[form][0], rule, results)
    data, made = case.values[0], result or TensorSpec("", (), "float32")
    shape = results[0].shape if results else ()
    tree, version = recurrent.model(case, given.get(0), made, shape)
    stored = quantmath.quantize(data, given[0]) if given else data
    return Built(flatbuffer.serialize(tree), (stored,), (made,), version)


def _is_input(tensor: Any) -> bool:
    return tensor.buffer == 0 and tensor.name.startswith("in")


def can_fuse(case: Case) -> bool:
    """Whether the schema has a fused activation for the operator."""
    return hasattr(_options(case, "float32", 0), "fusedActivationFunction")


def _options(case: Case, form: str, activation: int) -> Any:
    if case.options is None:
        return None
    kit, (name, fields) = flatbuffer.schema(), case.options
    options = getattr(kit, f"{name}OptionsT")()
    for field, value in fields.items():
        assert hasattr(options, field), field
        setattr(options, field, value)
    if activation:
        options.fusedActivationFunction = activation
    if hasattr(options, "potScaleInt16"):
        options.potScaleInt16 = False
    if form == "int16/bias32" and hasattr(options, "quantizedBiasType"):
        options.quantizedBiasType = kit.TensorType.INT32
    return options


def _scales(
    case: Case, dtype: str, rule: str, results: tuple[NDArray[Any], ...]
) -> tuple[dict[int, TensorSpec], TensorSpec | None]:
    """Quantization of each float operand by position, and of the results."""
    if dtype == "float32":
        return {}, None
    ranges = {
        number: (float(values.min()), float(values.max()))
        for number, (operand, values) in enumerate(zip(case.operands, case.values, strict=True))
        if operand is not None and values is not None and operand.kind in _DATA
    }
    floats = [item for item in results if item.dtype == np.float32]
    low = min((float(item.min()) for item in floats), default=0.0)
    high = max((float(item.max()) for item in floats), default=1.0)
    if (
        rule == "all"
    ):  # the results' range, as TensorFlow does; without float results, the operands'
        if not floats:
            low = min(item[0] for item in ranges.values())
            high = max(item[1] for item in ranges.values())
        ranges = dict.fromkeys(ranges, (low, high))
    specs = {number: _spec(low, high, dtype) for number, (low, high) in ranges.items()}
    if rule == "fixed":
        scale, zero_point = FIXED[case.operator, dtype]
        return specs, TensorSpec("", (), dtype, (scale,), (zero_point,))
    if rule == "input":  # of a table of weights, `build` knows the scale
        return specs, specs[min(specs)] if specs else TensorSpec("", (), dtype)
    if rule == "own":  # of a kernel that ignores a result's scale, the result is wrong then
        low, high = low * 1.3 - 0.2 * (high - low), high * 1.5 + 0.1 * (high - low)
    return specs, _spec(low, high, dtype)


def _spec(low: float, high: float, dtype: str) -> TensorSpec:
    low, high = min(low, 0.0), max(high, 0.0)
    high = high if low < high else 1.0
    if dtype == "int16":
        return TensorSpec("", (), dtype, (max(-low, high) / 32767,), (0,))
    scale, zero_point = quantmath.range_to_scale(low, high)
    return TensorSpec("", (), dtype, (scale,), (zero_point,))


def _stored(
    operand: Operand, values: NDArray[Any], kinds: tuple[str, str, str], spec: TensorSpec | None
) -> tuple[NDArray[Any], TensorSpec, int]:
    """An operand's values as they are stored, their quantization and its axis."""
    if operand.kind == "weights" and kinds[1] != "float32":
        stored, scales = quantmath.quantize_weights(values, operand.axis)
        if kinds[1] == "int4":
            peak = scales * np.float32(127)
            scales = peak / np.float32(7)
            shape = [1] * values.ndim
            shape[operand.axis or 0] = -1
            stored = np.clip(np.rint(values / scales.reshape(shape)), -7, 7).astype(np.int8)
        zeros = (0,) * len(scales)
        made = TensorSpec("", (), kinds[1], tuple(map(float, scales)), zeros)
        return stored, made, operand.axis or 0
    if spec is not None:
        return quantmath.quantize(values, spec), spec, 0
    dtype = kinds[2] if operand.kind == "bias" else values.dtype.name
    return values, TensorSpec("", (), dtype), 0


def _bias(
    values: NDArray[Any], dtype: str, graph: Any, indices: list[int], case: Case
) -> tuple[NDArray[Any], TensorSpec]:
    """A bias in steps of the input's scale times the weights' scales."""
    scales = {}
    for operand, index in zip(case.operands, indices, strict=False):
        if operand is not None and operand.kind in ("input", "weights"):
            own = flatbuffer.tensor_spec(graph.tensors[index], "").scales
            scales[operand.kind] = np.array(own, np.float32)
    steps = scales["input"] * scales["weights"]
    stored = np.rint(values / steps).astype(dtype)
    return stored, TensorSpec("", (), dtype, tuple(map(float, steps)), (0,) * len(steps))


def _packed(values: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """Two INT4 values a byte, the first in the low half."""
    if spec.dtype != "int4":
        return values
    flat = np.append(values.ravel(), np.zeros(values.size % 2, np.int8)).view(np.uint8) & 15
    return (flat[::2] | flat[1::2] << 4).astype(np.uint8)


def _set_scales(tensor: Any, spec: TensorSpec, axis: int) -> None:
    if spec.scales:
        made = flatbuffer.schema().QuantizationParametersT()
        made.scale = np.array(spec.scales, np.float32)
        made.zeroPoint = np.array(spec.zero_points, np.int64)
        made.quantizedDimension = axis
        tensor.quantization = made
