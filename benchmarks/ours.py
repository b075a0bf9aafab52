"""TEMPORARY: the old quantizer behind the new writer's call, until the writer is merged."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path

from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.quantization import quantize
from edgeq.files import storage
from edgeq.tflite import flatbuffer
from edgeq.values import FloatModel
from edgeq.values.schemes import SCHEMES


def written(content, ranges, variant):
    shape = (SCHEMES[variant.scheme], variant.io, variant.granularity)
    if "process" not in inspect.signature(quantize.quantize).parameters:
        return quantize.quantize(content, ranges, *shape)
    with tempfile.TemporaryDirectory() as folder, TensorFlowProcess() as process:
        path = Path(folder) / "float.tflite"
        path.write_bytes(content)
        inputs, outputs = flatbuffer.interface(flatbuffer.parse(content, "x"))
        model = FloatModel(storage.refer(path), storage.refer(path), "tflite", "", inputs, outputs)
        return quantize.quantize(model, ranges, *shape, process, Path(folder))
