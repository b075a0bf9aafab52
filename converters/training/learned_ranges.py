"""Ranges that a model has learned in quantization-aware training: read instead of calibrated.

Lowered to a float `.tflite`, each fake-quantized activation is a QUANTIZE with a DEQUANTIZE behind
it (Keras: to uint8; the Q/DQ nodes of ONNX: to int8), whose scale and zero point are the range.
With the pairs taken out and their ranges written to the tensors before them, the model is quantized
like any calibrated one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeq.converters.calibration.zero_ranges import estimate_ranges
from edgeq.converters.quantization import quantize as quantization
from edgeq.converters.safe_reading import keras_file
from edgeq.converters.safe_reading.keras_names import QAT_PREFIX
from edgeq.errors import QuantizationError, UsageError
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import read_model
from edgeq.values import ConvertOptions, FloatModel, Ranges, TensorRange
from edgeq.values.schemes import Scheme

_CODES = ("uint8", "int8")
_LAYERS = "edgeq.converters.training.qat_layers"


def trained_granularity(model: Any) -> str | None:
    """The granularity that a quantization-aware model was trained for; None for other models.

    Args:
        model: path of a model, or a live one; nothing heavy is imported to look.
    """
    if isinstance(model, (str, Path)):
        found, pending = set(), [keras_file.peek(Path(model))]
        while pending:
            item = pending.pop()
            if isinstance(item, dict):
                if str(item.get("registered_name")).startswith(QAT_PREFIX):
                    config = item.get("config")
                    given = config.get("granularity") if isinstance(config, dict) else None
                    found.add(given if isinstance(given, str) else "channel")
                pending += item.values()
            elif isinstance(item, list):
                pending += item
    else:
        own = getattr(model, "_flatten_layers", lambda: ())()
        found = {
            getattr(layer, "granularity", "channel")
            for layer in own
            if type(layer).__module__ == _LAYERS
        }
    return None if not found else "tensor" if "tensor" in found else "channel"


def fit_scheme(scheme: Scheme, options: ConvertOptions, granularity: str | None) -> Scheme:
    """The scheme for a model that brings its ranges along, which needs no data.

    Args:
        granularity: what `trained_granularity` found.

    Raises:
        UsageError: an option that contradicts what the model was trained for.
    """
    if granularity is None:
        return scheme
    given = {
        f"--scheme {scheme.name}": scheme.activations != "int8",
        "--calibrator tflite": options.calibrator == "tflite",
        "--keep-float": bool(options.keep_float),
        "--int16": bool(options.int16),
        "--int4": bool(options.int4),
        "--weights int4": options.weights == "int4",
        f"--statistic {options.statistic}": options.statistic != "auto",
        f"--corrections {options.corrections}": options.corrections not in ("auto", "none"),
    }
    if wrong := [name for name, is_given in given.items() if is_given]:
        raise UsageError(
            "A quantization-aware model was trained for full INT8 with its own ranges; "
            f"{', '.join(wrong)} cannot be combined with it.",
            hint="Remove these options, or convert the model it was made from.",
        )
    if options.granularity != granularity:
        raise UsageError(
            f"The model was trained with granularity {granularity!r}, not {options.granularity!r}.",
            hint=f"Pass --granularity {granularity}.",
        )
    return replace(scheme, needs_data=False)


def is_learned(scheme: Scheme, model: FloatModel) -> bool:
    """Whether INT8 takes its ranges from the lowered model, because it is or has to be trained."""
    if scheme.activations != "int8":
        return False
    return not scheme.needs_data or any(_pairs(read_model(Path(model.file.path)).tree))


def quantize_learned(
    model: FloatModel,
    scheme: Scheme,
    io: str,
    granularity: str,
) -> tuple[bytes, Ranges]:
    """Quantize a lowered model with the ranges that it holds, by `quantization.quantize`.

    Raises:
        QuantizationError: the model has not learned its ranges yet, or the quantizer refused it.
    """
    content, ranges = take_ranges(Path(model.file.path).read_bytes())
    ranges, _ = estimate_ranges(content, ranges)
    return quantization.quantize(content, ranges, scheme, io, granularity), ranges


def take_ranges(content: bytes) -> tuple[bytes, Ranges]:
    """The model without its QUANTIZE and DEQUANTIZE pairs, and the ranges they stood for.

    Args:
        content: a float flatbuffer, lowered from a quantization-aware model.

    Raises:
        QuantizationError: an input has no range, so the model was never trained.
    """
    tree = flatbuffer.parse(content, "the quantization-aware model")
    graph = tree.subgraphs[0]
    found: dict[int, tuple[float, float]] = {}
    stands_for: dict[int, int] = {}
    dropped: set[int] = set()
    for quantize, dequantize in _pairs(tree):
        before = flatbuffer.indices(quantize.inputs)[0]
        coded = graph.tensors[flatbuffer.indices(quantize.outputs)[0]]
        scale, zero = float(coded.quantization.scale[0]), int(coded.quantization.zeroPoint[0])
        stored = np.iinfo(flatbuffer.dtype(coded))
        found[before] = ((stored.min - zero) * scale, (stored.max - zero) * scale)
        stands_for[flatbuffer.indices(dequantize.outputs)[0]] = before
        dropped |= {id(quantize), id(dequantize)}
    graph.operators = [item for item in graph.operators if id(item) not in dropped]
    for holder, name in (*((item, "inputs") for item in graph.operators), (graph, "outputs")):
        kept = list(flatbuffer.indices(getattr(holder, name)))
        while any(index in stands_for for index in kept):
            kept = [stands_for.get(index, index) for index in kept]
        setattr(holder, name, np.array(kept, np.int32))
    for index in flatbuffer.indices(graph.inputs):
        if index not in found:
            raise QuantizationError(
                f"Input {flatbuffer.tensor_name(graph, index)!r} has no range: the "
                "quantization-aware model has not seen a training batch yet.",
                hint="Train it with fit() or edgeq.distill(), then convert it.",
            )
    outputs = [spec.name for spec in flatbuffer.interface(flatbuffer.parse(content, ""))[1]]
    inputs = [flatbuffer.tensor_name(graph, i) for i in flatbuffer.indices(graph.inputs)]
    flatbuffer.set_interface(tree, inputs, outputs)
    limits = np.array([found[index] for index in sorted(found)], np.float32)
    tensors = tuple(
        TensorRange(index, flatbuffer.tensor_name(graph, index), *found[index])
        for index in sorted(found)
    )
    digest = hashlib.sha256(limits.tobytes()).hexdigest()
    return flatbuffer.serialize(tree), Ranges("qat", "learned", 0, tensors, digest)


def _pairs(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Each DEQUANTIZE to float behind a QUANTIZE, which is how ranges are lowered."""
    graph = tree.subgraphs[0]
    quantizes = {
        flatbuffer.indices(item.outputs)[0]: item
        for item in graph.operators
        if flatbuffer.operator_name(tree, item) == "QUANTIZE"
    }
    for item in graph.operators:
        if flatbuffer.operator_name(tree, item) == "DEQUANTIZE":
            coded = flatbuffer.indices(item.inputs)[0]
            if coded in quantizes and flatbuffer.dtype(graph.tensors[coded]) in _CODES:
                yield quantizes[coded], item
