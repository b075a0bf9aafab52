"""From a float model and its ranges to the quantized bytes, one function for all schemes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeq.children.framing import write_sample
from edgeq.converters.calibration.calibrate import batches
from edgeq.converters.graph.rewriting import drop_stablehlo_flag
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.quantization.selectors import NO_MIX, Mix, with_inner
from edgeq.converters.writer import storage
from edgeq.converters.writer.write import OLDEST_INT16, Target, Writer
from edgeq.tflite import flatbuffer
from edgeq.values import FloatModel, Ranges
from edgeq.values.schemes import Scheme


def quantize(
    content: bytes,
    ranges: Ranges | None,
    scheme: Scheme,
    io: str,
    granularity: str,
    mix: Mix = NO_MIX,
) -> bytes:
    """Quantize the float model.

    Args:
        content: the float flatbuffer.
        ranges: from calibration; None for schemes without.
        io: dtype of inputs and outputs.
        granularity: "channel", "tensor" or "block:N".
        mix: operators of an INT8 model that get another precision.

    Returns:
        The quantized flatbuffer.

    Raises:
        QuantizationError: a tensor has no range, or a weight or an operator does not fit the
            scheme.
    """
    if scheme.precision == "float32":
        return content
    if scheme.precision == "fp16":
        return storage.store_fp16(content)
    if scheme.precision == "weight-only":
        return storage.store_weight_only(content, scheme.weights, granularity)
    if scheme.precision == "dynamic":
        return storage.store_dynamic(content, per_channel=granularity == "channel")
    assert ranges is not None, "calibrated schemes come with ranges"
    return make_writer(content, scheme, io, granularity, mix).write(ranges)


def make_writer(content: bytes, scheme: Scheme, io: str, granularity: str, mix: Mix) -> Writer:
    """The writer of a calibrated scheme, for several files with different ranges."""
    per_channel = granularity == "channel"
    if scheme.activations == "int8":
        mix = with_inner(content, mix)
    kept = tuple(dict.fromkeys((*mix.keep_float, *mix.wide.operators)))
    ends = frozenset(mix.wide.inputs), frozenset(mix.wide.outputs)
    target = Target(scheme.activations, io, per_channel, kept, mix.int16, mix.int4, *ends)
    return Writer(content, target)


def quantize_with_stock(
    model: FloatModel,
    samples: Iterator[Mapping[str, NDArray[Any]]],
    scheme: Scheme,
    io: str,
    granularity: str,
    process: TensorFlowProcess,
    folder: Path,
) -> bytes:
    """Calibrate and quantize with TensorFlow Lite's own calibrator.

    A model lowered by TensorFlow goes through `TFLiteConverter.convert()` with its
    `representative_dataset`; others, through the calibrator that `convert()` uses inside.

    Raises:
        QuantizationError: refused, or the calibrator crashed.
    """
    recorded = folder / "samples.bin"
    with recorded.open("wb") as stream:
        for arrays in batches(samples, model.inputs):
            write_sample(stream, [arrays[spec.name] for spec in model.inputs])
    per_channel = granularity == "channel"
    options = {"activations": scheme.activations, "io": io, "per_channel": per_channel}
    out = folder / "quantized.tflite"
    is_lowered = model.source_kind in ("keras", "h5", "saved_model")
    if is_lowered:
        process.call("stock_convert", samples=str(recorded), out=out, **options)
    else:
        calibrated, source = folder / "calibrated.tflite", folder / "to-quantize.tflite"
        process.call("stock_calibrate", path=model.file.path, samples=str(recorded), out=calibrated)
        source.write_bytes(drop_stablehlo_flag(calibrated.read_bytes()))
        process.call("quantize", path=str(source), out=out, **options)
    tree = flatbuffer.parse(out.read_bytes(), "the converted model")
    if is_lowered:
        flatbuffer.set_interface(
            tree, [spec.name for spec in model.inputs], [spec.name for spec in model.outputs]
        )
    if scheme.activations == "int16":
        flatbuffer.require_runtime(tree, OLDEST_INT16)
    return flatbuffer.serialize(tree)
