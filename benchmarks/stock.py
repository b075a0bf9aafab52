"""TensorFlow's part of the oracle: lower a model, and quantize it with TensorFlow's own quantizers.

TensorFlow runs in the benchmark's own process, and is imported when it is first needed.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
from cases import Case

from edgeq.converters.lowering import lower, model_kinds
from edgeq.files import storage
from edgeq.tflite import flatbuffer, lstm
from edgeq.values import ConvertOptions, FileRef, FloatModel

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def lower_case(case: Case, folder: Path) -> FloatModel:
    """Lower the model of a case to a float `.tflite` in `folder`, as `edgeq convert` does.

    Raises:
        EdgeqError: it cannot be lowered.
    """
    options = ConvertOptions()
    if isinstance(case.model, Path) and model_kinds.identify(case.model) == "tflite":
        return lower.adopt(case.model, options)
    from edgeq.converters.lowering import frameworks, tensorflow_lowering
    from edgeq.converters.tracing import wrapping

    if isinstance(case.model, Path):
        kind = model_kinds.identify(case.model)
        loaded, source = frameworks.load(case.model, kind), storage.refer(case.model)
    else:
        loaded, kind = wrapping.wrap_live(case.model()), "python"
        source = FileRef(case.name, hashlib.sha256(case.name.encode()).hexdigest(), 1)
    inputs = tensorflow_lowering.fix_shapes(loaded.inputs, 1, {})
    traced = tensorflow_lowering.trace(loaded, inputs)
    return lower.finish(
        tensorflow_lowering.lower(traced),
        folder,
        source=source,
        source_kind=kind,
        framework=loaded.framework,
        input_names=[spec.name for spec in inputs],
        output_names=loaded.output_names,
        unrolled=traced.unrolled,
        notes=loaded.notes,
    )


def quantize_apart(scheme: str, calibrated: Path, io: str, granularity: str, target: Path) -> str:
    """Quantize in a separate process, because the stock `Calibrator` crashes on some models.

    Returns:
        Why there is no file, empty if there is one.
    """
    arguments = scheme, calibrated, io, granularity, target
    process = multiprocessing.get_context("spawn").Process(target=_quantize, args=arguments)
    process.start()
    process.join()
    if process.exitcode == 0:
        return ""
    if process.exitcode < 0:
        return f"TensorFlow ended by signal {-process.exitcode}"
    return target.with_suffix(".txt").read_text()


def _quantize(scheme: str, calibrated: Path, io: str, granularity: str, target: Path) -> None:
    call = quantize_int16x8 if scheme == "int16x8" else quantize_int8
    try:
        made = call(calibrated.read_bytes(), io, per_channel=granularity == "channel")
    except Exception as error:
        target.with_suffix(".txt").write_text(" ".join(str(error).split())[:300])
        raise SystemExit(1) from error
    target.write_bytes(made)


def complete_lstms(calibrated: bytes) -> bytes:
    """Give fused LSTMs what `mlir_quantize` reads of them, as TensorFlow's `Calibrator` does.

    These are intermediates, and the result's range for the hidden state, which is the same.
    """
    tree = flatbuffer.parse(calibrated, "the calibrated model")
    graph = tree.subgraphs[0]
    for operator in graph.operators:
        own = lstm.read(tree, operator)
        if own is None or own.projection >= 0 or own.sums:
            continue
        made = [flatbuffer.add_tensor(graph, f"inner{n}", [0], "float32") for n in range(5)]
        operator.intermediates = np.array(made, np.int32)
        for index in (own.hidden, made[-1]):
            graph.tensors[index].quantization = graph.tensors[own.result].quantization
    return flatbuffer.serialize(tree)


def quantize_int8(calibrated: bytes, io: str, *, per_channel: bool) -> bytes:
    """Quantize a float flatbuffer whose tensors have `min` and `max` with `mlir_quantize`.

    Raises:
        Exception: it refused the model; TensorFlow has no narrower type for it.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    made = mlir_quantize(
        complete_lstms(calibrated),
        disable_per_channel=not per_channel,
        disable_per_channel_for_dense_layers=not per_channel,
        input_data_type=tf.as_dtype(io),
        output_data_type=tf.as_dtype(io),
    )
    return bytes(made)


def quantize_int16x8(calibrated: bytes, io: str, *, per_channel: bool) -> bytes:
    """Quantize a float flatbuffer whose tensors have `min` and `max` with the stock `Calibrator`.

    Raises:
        Exception: an operator has no 16x8 kernel; TensorFlow has no narrower type for it.
    """
    from tensorflow.lite.python.optimize import calibrator

    kind, code = np.dtype(io).num, np.dtype
    keeper: Any = calibrator.Calibrator(calibrated)
    made = keeper._calibrator.QuantizeModel(
        kind, kind, False, code("int16").num, code("int64").num, not per_channel, not per_channel
    )
    return bytes(made)
