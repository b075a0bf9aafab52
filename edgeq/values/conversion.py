"""From a float model through ranges to a proven `.tflite`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edgeq.values.bounds import SOME, Count, Positive, SchemeName
from edgeq.values.files import FileRef, TensorSpec


@dataclass(frozen=True)
class FloatModel:
    """A float `.tflite` that computes what the source model computes.

    Attributes:
        file: the float flatbuffer.
        source: the model it came from; the same file when the user gave a float `.tflite`.
        source_kind: "keras", "h5", "saved_model", "tflite", "torch", "onnx" or "python".
        framework: who read it, e.g. "keras 3.15.1", "tf_keras 2.21.0".
        inputs: by signature name.
        outputs: by signature name.
        unrolled_layers: recurrent layers whose loop was unrolled.
        max_deviation: largest |float .tflite - source model| relative to the largest output
            magnitude, over the check samples; None for a `.tflite` source.
        notes: sentences a user must know about how it was read.
    """

    file: FileRef
    source: FileRef
    source_kind: str
    framework: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    unrolled_layers: tuple[str, ...] = ()
    max_deviation: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TensorRange:
    """Calibrated range of one float tensor of the main subgraph, in real units."""

    index: int
    name: str
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Histogram:
    """Where the values of one calibrated float tensor lie.

    Attributes:
        index: of the tensor, as in `TensorRange`.
        minimum: smallest value that calibration saw; the first bin begins there.
        maximum: largest; the last bin ends there.
        counts: values in each of the equally wide bins; of large tensors a regular subset.
    """

    index: int
    minimum: float
    maximum: float
    counts: Annotated[tuple[Count, ...], SOME]


@dataclass(frozen=True)
class Ranges:
    """What calibration saw.

    Attributes:
        calibrator: "edgeq" (own, on XNNPACK), "tflite" (stock TFLiteConverter) or "litert"
            (litert-quantizer).
        statistic: a value of `--statistic`; then "-shared" when operands have their result's range
            (see `converters.calibration.shared_ranges`), "-saturated" when ranges end where
            operators saturate (see `converters.calibration.saturation`).
        sample_count: samples run through the float model.
        tensors: empty when the stock calibrator kept them to itself.
        sha256: digest of the ranges, for comparing two conversions.
    """

    calibrator: str
    statistic: str
    sample_count: int
    tensors: tuple[TensorRange, ...]
    sha256: str


@dataclass(frozen=True)
class LayerCorrection:
    """What was done to one layer after quantization.

    Attributes:
        layer: name of its output in the float model.
        operator: e.g. "CONV_2D".
        chosen: "plain" (left as it was), or what it got, e.g. "rounding+bias".
        plain_db: SQNR of its own output on calibration samples kept apart, as quantized.
        corrected_db: the same, as chosen.
    """

    layer: str
    operator: str
    chosen: str
    plain_db: float
    corrected_db: float


@dataclass(frozen=True)
class Candidate:
    """One way to quantize that was tried.

    Attributes:
        statistic: of the ranges, see `Ranges`.
        is_equalized: whether channels were stretched before, see `converters.equalization`.
        is_corrected: whether layers were corrected afterwards.
        sqnr_db: of the outputs' worst part as its final activation sees it (see
            `converters.squashing`), on calibration samples kept apart.
    """

    statistic: str
    is_equalized: bool
    is_corrected: bool
    sqnr_db: float


@dataclass(frozen=True)
class OperatorReport:
    """One operator of the exported file, as read back.

    Attributes:
        index: position in execution order.
        name: builtin operator name, e.g. "CONV_2D"; of a custom or Flex op its own name.
        output: name of its first output tensor.
        precision: "int8", "int16x8", "float32", "dynamic" (float activations, int8 weights),
            "fp16" (float activations, fp16 weights), "weight-only" (the same with integer weights
            that a DEQUANTIZE widens), "integer" (index arithmetic), "convert" (QUANTIZE,
            DEQUANTIZE, CAST).
        weight_dtype: numpy name, None when it has no weights.
        is_per_channel: None when it has no quantized weights.
        version: operator version, which decides the oldest runtime that can run it.
        weight_shape: as the operator sees its weights, which a file may store in another shape.
        granularity: of its quantized weights, by their number of scales: "tensor" (one),
            "channel" or "block:N"; None when it has none.
        is_symmetric: whether the zero points of its quantized weights are all 0 (128 when
            unsigned); None when it has none, and in records of edgeq 0.1.
    """

    index: int
    name: str
    output: str
    precision: str
    weight_dtype: str | None
    is_per_channel: bool | None
    version: int
    weight_shape: tuple[int, ...] = ()
    granularity: str | None = None
    is_symmetric: bool | None = None


@dataclass(frozen=True)
class Certificate:
    """What an exported `.tflite` really is, from its bytes alone.

    Attributes:
        inputs: dtypes, scales and zero points as exported.
        outputs: likewise.
        operators: every operator of every subgraph.
        float_islands: runs of adjacent float compute operators.
        quantize_ops: QUANTIZE operators, those at the border included.
        dequantize_ops: likewise.
        flex_ops: names of operators that need the Flex delegate.
        custom_ops: names of custom operators.
        is_per_channel: None when no weights are quantized.
        unquantized_weights: names of float weights of operators that could have them quantized.
        min_runtime_version: from the file's metadata, None when it carries none.
        size_bytes: of the file.
        problems: reasons why it is not what was asked for; empty when it is.
        weights_symmetric: whether all quantized weights have zero point 0 (128 when unsigned);
            None when none are quantized.
        activations_symmetric: the same for computed tensors.
        activation_dtypes: of quantized computed tensors.
        symmetric_activation_dtypes: those of them whose zero points are all 0.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[OperatorReport, ...]
    float_islands: int
    quantize_ops: int
    dequantize_ops: int
    flex_ops: tuple[str, ...]
    custom_ops: tuple[str, ...]
    is_per_channel: bool | None
    unquantized_weights: tuple[str, ...]
    min_runtime_version: str | None
    size_bytes: Positive
    problems: tuple[str, ...] = ()
    weights_symmetric: bool | None = None
    activations_symmetric: bool | None = None
    activation_dtypes: tuple[str, ...] = ()
    symmetric_activation_dtypes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TfliteModel:
    """An exported model and how it was made.

    Attributes:
        file: the `.tflite`.
        scheme: see `converters.schemes`.
        io: dtype of inputs and outputs asked for.
        granularity: "channel", "tensor" or "block:N".
        ranges: None for schemes without calibration.
        candidates: the ways that were tried, the chosen one first; empty without a choice.
        corrections: by layer, in execution order; empty when none were made.
        correction_samples: that they were made on, three quarters, and checked on, the last.
        histograms: of the tensors that `ranges` cut most, in their order; empty where calibration
            kept extremes only, as with `--effort fast`.
    """

    file: FileRef
    scheme: SchemeName
    io: str
    granularity: str
    ranges: Ranges | None
    candidates: tuple[Candidate, ...] = ()
    corrections: tuple[LayerCorrection, ...] = ()
    correction_samples: int = 0
    histograms: tuple[Histogram, ...] = ()


EFFORTS = ("fast", "balanced", "best")
CALIBRATORS = ("edgeq", "tflite")
LAYOUTS = ("source", "nhwc")


@dataclass(frozen=True)
class ConvertOptions:
    """Everything the user decided about a conversion.

    Attributes:
        scheme: see `converters.schemes`.
        io: dtype of inputs and outputs, None for the scheme's default.
        engine: "edgeq" or "litert", see `converters.engines`.
        granularity: "channel", "tensor" or "block:N".
        effort: "fast", "balanced" or "best".
        calibrator: "edgeq" or "tflite".
        statistic: from values to a range, "auto" to try several; see `converters.statistics`.
        corrections: "auto", "none", or names with commas; see `converters.corrections`.
        samples: calibration samples, None for up to 256 with some held out.
        seed: of every deterministic choice.
        batch: size of a dynamic first dimension, 0 to keep it dynamic, None for the default.
        input_shapes: (input name, whole shape, -1 for dynamic).
        custom_objects: "module:NAME" each.
        trusted: run code that the model file carries.
        signature: of a SavedModel with several.
        allow_float: accept a file that is not entirely what was asked for.
        keep_float: selectors of operators that stay float, see `converters.selectors`.
        int16: selectors of operators that get INT16 activations.
        min_sqnr_db: gate on the outputs' worst part.
        max_drop_points: gate on the accuracy drop in percentage points.
        layout: "source", or "nhwc" to move the channels of PyTorch's and ONNX's images last.
        torch_python: interpreter that has litert-torch, None for this one.
        onnx_python: interpreter that has onnx2tf, None for this one.
    """

    scheme: str = "int8"
    io: str | None = None
    engine: str = "edgeq"
    granularity: str = "channel"
    effort: str = "balanced"
    calibrator: str = "edgeq"
    statistic: str = "auto"
    corrections: str = "auto"
    samples: int | None = None
    seed: int = 0
    batch: int | None = None
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    custom_objects: tuple[str, ...] = ()
    trusted: bool = False
    signature: str | None = None
    allow_float: bool = False
    keep_float: tuple[str, ...] = ()
    int16: tuple[str, ...] = ()
    min_sqnr_db: float | None = None
    max_drop_points: float | None = None
    layout: str = "source"
    torch_python: str | None = None
    onnx_python: str | None = None
