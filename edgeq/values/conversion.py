"""A conversion: the float model, ranges, the exported `.tflite` and its certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edgeq.values.bounds import SOME, Count, Positive, SchemeName
from edgeq.values.files import FileRef, JoinedOutput, TensorSpec
from edgeq.values.showing import bounded


@bounded
@dataclass(frozen=True)
class FloatModel:
    """A float `.tflite` that computes what the source model computes.

    Attributes:
        file: the float flatbuffer.
        source: the model it was made from; the same file when the user gave a float `.tflite`.
        source_kind: "keras", "h5", "saved_model", "tflite", "torch", "onnx" or "python".
        framework: the framework that read it, e.g. "keras 3.15.1", "tf_keras 2.21.0".
        inputs: by signature name.
        outputs: by signature name.
        unrolled_layers: recurrent layers whose loop was unrolled.
        max_deviation: largest |float .tflite - source model| relative to the largest output
            magnitude, over the check samples; None for a `.tflite` that was not rewritten.
        notes: sentences that the user must know about how it was read.
        rewrites: what was rewritten before quantization, each with the number of places.
        fused_layers: LSTM layers of the source that are one operator each.
        joins: outputs of the source that this model gives in parts, see `--split-outputs`.
        other_dtypes: float dtypes of the source that were read in float32, e.g. "float16".
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
    rewrites: tuple[str, ...] = ()
    fused_layers: tuple[str, ...] = ()
    joins: tuple[JoinedOutput, ...] = ()
    other_dtypes: tuple[str, ...] = ()


@bounded
@dataclass(frozen=True)
class TensorRange:
    """Calibrated range of one float tensor of the main subgraph, in real units."""

    index: int
    name: str
    minimum: float
    maximum: float


@bounded
@dataclass(frozen=True)
class Histogram:
    """Distribution of the values of one calibrated float tensor.

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


@bounded
@dataclass(frozen=True)
class Ranges:
    """The ranges that calibration found.

    Attributes:
        calibrator: "edgeq" (own, on XNNPACK), "tflite" (stock TFLiteConverter), or in records
            of edgeq 0.1 "litert" (litert-quantizer).
        statistic: a value of `--statistic`; then "-shared" when operands have their result's range
            (see `edgeq.converters.calibration.shared_ranges`), "-saturated" when ranges end
            where operators saturate (see `edgeq.converters.calibration.saturation`).
        sample_count: samples run through the float model.
        tensors: empty when the stock calibrator does not report them.
        sha256: digest of the ranges, for comparing two conversions.
    """

    calibrator: str
    statistic: str
    sample_count: int
    tensors: tuple[TensorRange, ...]
    sha256: str


@bounded
@dataclass(frozen=True)
class LayerCorrection:
    """The correction of one layer after quantization.

    Attributes:
        layer: name of its output in the float model.
        operator: e.g. "CONV_2D".
        chosen: "plain" (unchanged), or the corrections, e.g. "rounding+bias".
        plain_db: SQNR of its output on held-out calibration samples, without corrections.
        corrected_db: the same with the chosen corrections.
    """

    layer: str
    operator: str
    chosen: str
    plain_db: float
    corrected_db: float


@bounded
@dataclass(frozen=True)
class Candidate:
    """One way to quantize that was tried.

    Attributes:
        statistic: of the ranges, see `Ranges`.
        is_equalized: whether channels were equalized first, see
            `edgeq.converters.calibration.equalization`.
        is_corrected: whether layers were corrected afterwards.
        sqnr_db: of the outputs' worst part before its final activation (see
            `edgeq.converters.calibration.logits`), on held-out calibration samples.
    """

    statistic: str
    is_equalized: bool
    is_corrected: bool
    sqnr_db: float


@bounded
@dataclass(frozen=True)
class OperatorReport:
    """One operator of the exported file, as read back.

    Attributes:
        index: position in execution order.
        name: builtin operator name, e.g. "CONV_2D", or the name of a custom or Flex operator.
        output: name of its first output tensor.
        precision: "int8", "int16x8", "float32", "dynamic" (float activations, int8 weights),
            "fp16" (float activations, fp16 weights), "weight-only" (the same with integer weights
            that a DEQUANTIZE widens), "integer" (index arithmetic), "convert" (QUANTIZE,
            DEQUANTIZE, CAST).
        weight_dtype: numpy name, None when it has no weights.
        is_per_channel: None when it has no quantized weights.
        version: operator version, which decides the oldest runtime that can run it.
        weight_shape: as the operator uses its weights, which a file may store in a different shape.
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


@bounded
@dataclass(frozen=True)
class Certificate:
    """The contents of an exported `.tflite`, from its bytes only.

    Attributes:
        inputs: dtypes, scales and zero points as exported.
        outputs: the same of the outputs.
        operators: every operator of every subgraph.
        float_islands: runs of adjacent float compute operators, without the wide ones at the ends.
        quantize_ops: number of QUANTIZE operators, including those at inputs and outputs.
        dequantize_ops: number of DEQUANTIZE operators, counted in the same way.
        flex_ops: names of operators that need the Flex delegate.
        custom_ops: names of custom operators.
        is_per_channel: None when no weights are quantized.
        unquantized_weights: names of float weights that could be quantized.
        min_runtime_version: from the file's metadata, None when it states none.
        size_bytes: of the file.
        problems: reasons why it is not as requested; empty when it is.
        weights_symmetric: whether all quantized weights have zero point 0 (128 when unsigned);
            None when none are quantized.
        activations_symmetric: the same of computed tensors.
        activation_dtypes: of quantized computed tensors.
        symmetric_activation_dtypes: those `activation_dtypes` whose zero points are all 0.
        wide_inputs: float operators without weights between inputs and the first QUANTIZE.
        wide_outputs: float operators without weights between the last DEQUANTIZE and outputs.
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
    wide_inputs: tuple[str, ...] = ()
    wide_outputs: tuple[str, ...] = ()


@bounded
@dataclass(frozen=True)
class TfliteModel:
    """An exported model and how it was made.

    Attributes:
        file: the `.tflite`.
        scheme: a value of `--scheme`.
        io: dtype of inputs and outputs by the options; the certificate has the dtype of each, which
            is float32 where an end stays in float.
        granularity: "channel", "tensor" or "block:N".
        ranges: None for schemes without calibration.
        candidates: the ways that were tried, the chosen one first; empty if there was no choice.
        corrections: by layer, in execution order; empty when none were made.
        correction_samples: samples for the corrections: three quarters to make them, the rest to
            check them.
        histograms: of the tensors that `ranges` clip most, in the order of `ranges`; empty if
            calibration recorded extremes only, as with `--effort fast`.
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
LSTM_FORMS = ("auto", "fused", "unrolled")
RECURRENT_DTYPES = ("int16", "int8")
LAYOUTS = ("source", "nhwc")
WEIGHTS = ("int8", "int4")
# The first two come before quantization (see `equalization` and `saturation`), the others change
# the integers afterwards: biases that keep each channel's mean; rounding with feedback; weights
# refitted to the quantized inputs; smaller weight scales; biases of classes spread over one step.
CORRECTIONS = ("equalize", "saturate", "bias", "rounding", "refit", "clip", "ties")


@bounded
@dataclass(frozen=True)
class ConvertOptions:
    """Everything the user decided about a conversion.

    Attributes:
        scheme: a value of `--scheme`.
        io: dtype of inputs and outputs, None for the scheme's default.
        engine: "edgeq"; records of edgeq 0.1 may have "litert" (litert-quantizer).
        granularity: "channel", "tensor" or "block:N".
        effort: "fast", "balanced" or "best".
        calibrator: "edgeq" or "tflite".
        statistic: how values give a range, "auto" to try several; see
            `edgeq.converters.calibration.statistics`.
        corrections: "auto", "none", or names with commas; see `edgeq.converters.corrections`.
        samples: calibration samples, None for up to 256 with some held out.
        seed: of every deterministic choice.
        batch: size of a dynamic first dimension, 0 to keep it dynamic, None for the default.
        input_shapes: (input name, whole shape, -1 for dynamic).
        fixed_inputs: (input name, value) of ONNX inputs that become constants.
        custom_objects: "module:NAME" each.
        trusted: run code that the model file contains.
        signature: name of the signature, for a SavedModel with several.
        allow_float: accept a file that is not entirely as requested.
        keep_float: selectors of operators that stay float, see
            `edgeq.converters.quantization.selectors`.
        int16: selectors of operators that get INT16 activations.
        weights: "int8", or "int4" for INT4 weights in every layer of an INT8 model that can have
            them.
        int4: selectors of layers that get INT4 weights.
        min_sqnr_db: gate on the outputs' worst part.
        max_drop_points: gate on the accuracy drop, or on the loss of the first of `metrics`: in
            points (see `edgeq.accuracy.verdict.in_points`).
        outputs: tensors at which the model is cut off, instead of its outputs.
        split_outputs: make each part that an output joins an output, see
            `edgeq.converters.rewrites.outputs.parts`.
        metrics: names of the task's metrics, see `edgeq.metrics.catalogue`.
        decode: how boxes are read from the outputs, see `edgeq.metrics.decoding`; the file
            carries it.
        lstm: "fused" for one operator for each LSTM layer of Keras or PyTorch, "unrolled" for the
            operators of each step, "auto" for the better of them; see `edgeq.conversion.forms`.
        recurrent: activations inside unrolled recurrent layers of an INT8 model: "int16", or
            "int8", which is faster where XNNPACK runs, and less accurate.
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
    fixed_inputs: tuple[tuple[str, float], ...] = ()
    custom_objects: tuple[str, ...] = ()
    trusted: bool = False
    signature: str | None = None
    allow_float: bool = False
    keep_float: tuple[str, ...] = ()
    int16: tuple[str, ...] = ()
    weights: str = "int8"
    int4: tuple[str, ...] = ()
    min_sqnr_db: float | None = None
    max_drop_points: float | None = None
    outputs: tuple[str, ...] = ()
    split_outputs: bool = False
    metrics: tuple[str, ...] = ()
    decode: str | None = None
    lstm: str = "auto"
    recurrent: str = "int16"
    layout: str = "source"
    torch_python: str | None = None
    onnx_python: str | None = None
