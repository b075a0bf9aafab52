"""From a float model and its ranges to the quantized bytes, one function for all schemes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeq.children.framing import write_sample
from edgeq.converters.calibration.calibrate import batches, write_ranges
from edgeq.converters.graph.mixed_precision import mix_in
from edgeq.converters.graph.rewriting import drop_stablehlo_flag
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.quantization.selectors import NO_MIX, Mix
from edgeq.converters.writer import storage
from edgeq.tflite import flatbuffer
from edgeq.values import FloatModel, Ranges
from edgeq.values.schemes import Scheme


def quantize(
    model: FloatModel,
    ranges: Ranges | None,
    scheme: Scheme,
    io: str,
    granularity: str,
    process: TensorFlowProcess | None,
    folder: Path,
    mix: Mix = NO_MIX,
) -> bytes:
    """Quantize the float model.

    Args:
        ranges: from calibration; None for schemes without.
        io: dtype of inputs and outputs.
        granularity: "channel", "tensor" or "block:N".
        mix: operators of an INT8 model that get another precision.

    Returns:
        The quantized flatbuffer.

    Raises:
        QuantizationError: the quantizer refused, or a weight does not fit the scheme.
    """
    content = Path(model.file.path).read_bytes()
    per_channel = granularity == "channel"
    if scheme.precision == "float32":
        return content
    if scheme.precision == "fp16":
        return storage.store_fp16(content)
    if scheme.precision == "weight-only":
        return storage.store_weight_only(content, scheme.weights, granularity)
    if scheme.precision == "dynamic":
        return storage.store_dynamic(content, per_channel=per_channel)
    assert ranges is not None, "calibrated schemes come with ranges"
    calibrated = write_ranges(content, ranges)
    shape: dict[str, Any] = {"io": io, "per_channel": per_channel}
    made = _through(
        process, folder, calibrated, "quantize", activations=scheme.activations, **shape
    )
    if mix.int16:
        wide = quantize_twin(model, ranges, granularity, process, folder)
        made = mix_in(made, wide, "int16", content, mix.int16)
    return mix_in(made, content, "float32", content, mix.keep_float)


def quantize_twin(
    model: FloatModel,
    ranges: Ranges,
    granularity: str,
    process: TensorFlowProcess | None,
    folder: Path,
) -> bytes:
    """The model with INT16 activations wherever there is a kernel, float elsewhere, for `mix_in`.

    Raises:
        QuantizationError: the quantizer refused.
    """
    return _through(
        process,
        folder,
        write_ranges(Path(model.file.path).read_bytes(), ranges),
        "quantize",
        activations="int16",
        io="float32",
        per_channel=granularity == "channel",
        allow_float=True,
    )


def quantize_with_stock(
    model: FloatModel,
    samples: Iterator[Mapping[str, NDArray[Any]]],
    scheme: Scheme,
    io: str,
    granularity: str,
    process: TensorFlowProcess | None,
    folder: Path,
) -> bytes:
    """Calibrate and quantize with TensorFlow Lite's own calibrator.

    A model lowered by TensorFlow goes through `TFLiteConverter.convert()` with its
    `representative_dataset`; others, through the calibrator that `convert()` uses inside.

    Raises:
        QuantizationError: refused, or the calibrator crashed.
    """
    assert process is not None, "the stock calibrator lives in TensorFlow"
    recorded = folder / "samples.bin"
    with recorded.open("wb") as stream:
        for arrays in batches(samples, model.inputs):
            write_sample(stream, [arrays[spec.name] for spec in model.inputs])
    per_channel = granularity == "channel"
    options = {"activations": scheme.activations, "io": io, "per_channel": per_channel}
    if model.source_kind not in ("keras", "h5", "saved_model"):
        calibrated = folder / "calibrated.tflite"
        process.call("stock_calibrate", path=model.file.path, samples=str(recorded), out=calibrated)
        return _through(process, folder, calibrated.read_bytes(), "quantize", **options)
    out = folder / "quantized.tflite"
    process.call("stock_convert", samples=str(recorded), out=out, **options)
    tree = flatbuffer.parse(out.read_bytes(), "the converted model")
    flatbuffer.set_interface(
        tree, [spec.name for spec in model.inputs], [spec.name for spec in model.outputs]
    )
    return flatbuffer.serialize(tree)


def _through(
    process: TensorFlowProcess | None, folder: Path, content: bytes, call: str, **options: Any
) -> bytes:
    assert process is not None, "only fp32 and fp16 need no TensorFlow"
    source, out = folder / "to-quantize.tflite", folder / "quantized.tflite"
    source.write_bytes(drop_stablehlo_flag(content))
    process.call(call, path=str(source), out=out, **options)
    return out.read_bytes()
