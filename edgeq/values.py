"""The vocabulary: every value that travels through edgeq, in the order data flows.

All are frozen and hold no arrays (tuples and `FileRef` instead), so they compare, hash and
serialise. `None` means "not measured" or "not declared", never zero.

What a record that was damaged could hold and no code could use is refused where it is read back:
by the bounds in the annotations (msgspec applies them, the JSON Schema shows them), and by
`__post_init__` where one field depends on another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(gt=0)]
Milliseconds = Annotated[float, Meta(ge=0, le=1e9)]
Percent = Annotated[float, Meta(ge=0, le=100)]
# In Python, $ alone would take a line break behind the word.
Judgement = Annotated[str, Meta(pattern=r"^(pass|fail|cannot-tell)$(?!\n)")]
SchemeName = Annotated[
    str,
    Meta(pattern=r"^(int8|dynamic|fp16|int16x8|weight-only-int8|weight-only-int4|fp32)$(?!\n)"),
]
Severity = Annotated[str, Meta(pattern=r"^(error|warning|note)$(?!\n)")]
Validity = Annotated[str, Meta(pattern=r"^(valid|degraded|invalid)$(?!\n)")]
Verdict = Annotated[str, Meta(pattern=r"^(ship|check|no)$(?!\n)")]
_SOME = Meta(min_length=1)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


# ---------------------------------------------------------------- files, tensors, doubts


@dataclass(frozen=True)
class FileRef:
    """A file or folder as it was when edgeq read it.

    Attributes:
        path: as the user wrote it.
        sha256: hex digest of the bytes; of a folder, of its sorted (name, digest) list.
        size_bytes: total size.
    """

    path: str
    sha256: str
    size_bytes: Positive


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: the signature's name where there is one, the tensor's otherwise.
        shape: with the batch dimension; -1 where it is dynamic.
        dtype: numpy name, e.g. "int8", "float32".
        scales: one value when quantized per tensor, empty when not quantized.
        zero_points: as many as scales.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _require(
            len(self.scales) == len(self.zero_points), "as many scales as zero points are needed"
        )


@dataclass(frozen=True)
class Issue:
    """A coded doubt; `issues.py` holds the table of codes.

    Attributes:
        code: stable and dotted, e.g. "data.not_finite".
        severity: "error" (stops the work), "warning" or "note".
        message: one sentence with the numbers in it.
    """

    code: str
    severity: Severity
    message: str


# ---------------------------------------------------------------- data


@dataclass(frozen=True)
class Provenance:
    """Where and with what a record was made; models and data have their digests in its body.

    Attributes:
        created: UTC, as 2026-11-25T22:10:00Z.
        edgeq: version.
        python: version of the interpreter that ran edgeq.
        system: e.g. "Linux 6.1.0"; of the machine edgeq ran on, not of the device.
        machine: e.g. "x86_64".
        tools: installed there, (name, version).
        environment_sha256: digest of all of these but the moment: equal in equal environments.
    """

    created: str
    edgeq: str
    python: str
    system: str
    machine: str
    tools: tuple[tuple[str, str], ...]
    environment_sha256: str


@dataclass(frozen=True)
class Preprocessing:
    """How a raw sample becomes a model input; applied in the order of the attributes.

    The numeric part computes `(x * scale + offset - mean) / std` in float32.

    Attributes:
        input: name of the model input, or None for the only one.
        preset: the name it came from, for the record.
        resize: (height, width) for images, or None.
        channels: "rgb", "bgr" or "gray"; raw images are RGB.
        scale: factor.
        offset: added after scaling.
        mean: per channel or a single value; empty for none.
        std: per channel or a single value; empty for none.
    """

    input: str | None = None
    preset: str | None = None
    resize: tuple[int, int] | None = None
    channels: str = "rgb"
    scale: float = 1.0
    offset: float = 0.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True)
class DataRef:
    """A data set as it was read.

    Attributes:
        source: what the user named.
        kind: "npz", "npy", "images", "csv", "function" or "arrays" (from Python).
        sha256: digest of the files; for functions and arrays, of the samples consumed.
        sample_count: number of samples there, None when only iteration can tell.
        has_labels: whether each sample carries a label.
        preprocessing: one entry per input that declares any.
        class_names: of the class folders or the labels, where these are names: class i of the model
            was scored as the i-th. Empty for plain numbers, and in records of before this field.
    """

    source: str
    kind: str
    sha256: str
    sample_count: int | None
    has_labels: bool
    preprocessing: tuple[Preprocessing, ...] = ()
    class_names: tuple[str, ...] = ()


# ---------------------------------------------------------------- conversion


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
    counts: Annotated[tuple[Count, ...], _SOME]


@dataclass(frozen=True)
class Ranges:
    """What calibration saw.

    Attributes:
        calibrator: "edgeq" (own, on XNNPACK), "tflite" (stock TFLiteConverter) or "litert"
            (litert-quantizer).
        statistic: "minmax", "mean-minmax", "percentile:P", "mse" or "entropy"; with "-shared"
            behind it when operands have their result's range (see `converters.range_sharing`),
            "-saturated" when ranges end where operators saturate (`converters.saturation`).
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


# ---------------------------------------------------------------- running


@dataclass(frozen=True)
class RuntimeInfo:
    """A TensorFlow Lite runtime: name "ai-edge-litert", "tflite-runtime" or "tensorflow"."""

    name: str
    version: str


@dataclass(frozen=True)
class CoreKind:
    """Cores of one kind.

    Attributes:
        numbers: of the cores, as the kernel counts them.
        capacity: relative to the machine's fastest core at its highest clock, which has 1024.
        max_mhz: highest clock.
    """

    numbers: tuple[int, ...]
    capacity: int | None
    max_mhz: float | None


@dataclass(frozen=True)
class DeviceFacts:
    """What the agent found on the machine it ran on; None where it could not tell.

    Attributes:
        device: the name the user gave, e.g. "local".
        system: e.g. "Linux 6.1.0".
        machine: e.g. "x86_64", "aarch64".
        cpu_model: e.g. "Cortex-A72".
        core_count: cores this process may use.
        memory_bytes: physical memory.
        governor: CPU frequency governor of core 0.
        python: version of the interpreter that ran the agent; None for a phone without one, whose
            shell told the rest.
        runtimes: those importable there.
        release: name and release of the operating system, e.g. "Debian GNU/Linux 12 (bookworm)".
        emulator: who emulates the processor, None when nothing tells of one.
        cpu_features: those that inference gains from, as the kernel names them.
        core_kinds: the cores this process may use, the slowest kind first.
        available_bytes: memory that a new process can have without swapping.
        scratch_folder: where temporary files go.
        scratch_bytes: free space there.
        energy_meter: "RAPL" or "PMIC", None without one.
        energy_refusal: why there is none.
        python_path: the interpreter that ran the agent.
        numpy: its version.
        temperature_celsius: of the hottest sensor of the processor.
        throttling: what slows the processor now; None where nobody tells.
        throttled_before: what has slowed it since it was started.
        benchmark_model: path there of TensorFlow's program of that name, of a phone without Python.
    """

    device: str
    system: str
    machine: str
    cpu_model: str | None
    core_count: int
    memory_bytes: int | None
    governor: str | None
    python: str | None
    runtimes: tuple[RuntimeInfo, ...]
    release: str | None = None
    emulator: str | None = None
    cpu_features: tuple[str, ...] = ()
    core_kinds: tuple[CoreKind, ...] = ()
    available_bytes: int | None = None
    scratch_folder: str | None = None
    scratch_bytes: int | None = None
    energy_meter: str | None = None
    energy_refusal: str | None = None
    python_path: str | None = None
    numpy: str | None = None
    temperature_celsius: float | None = None
    throttling: tuple[str, ...] | None = None
    throttled_before: tuple[str, ...] = ()
    benchmark_model: str | None = None

    @property
    def processor(self) -> str:
        """Its model, else the kind of machine."""
        return self.cpu_model or self.machine


@dataclass(frozen=True)
class BenchOptions:
    """How to measure latency.

    Attributes:
        threads: interpreter threads.
        runs: fixed number of measured inferences per model, or None to run until the interval
            of the median is tight.
        min_time_s: measure each model at least this long (ignored with `runs`).
        max_time_s: give up tightening after this long per model (ignored with `runs`).
        runtime: force one of the runtime names, or None for the first importable.
        cores: "big", "little", "all", or numbers such as "0-3" or "0,2", to bind the model's
            threads to; None leaves them to the scheduler.
        sustained_s: run one model for so long, and say what becomes of its latency; `runs`,
            `min_time_s` and `max_time_s` do not count then.
        window_s: stretch of a sustained run that has its own figures; a third of the run at most.
        rounds: fresh processes per model, in turns; None for `DEFAULT_ROUNDS`, or as many as take
            at most twice the time of one. A sustained run has one.
        benchmark_model: TensorFlow's program to measure with on an adb device, a file here or an
            absolute path there; None uses the agent, or without a Python there the program that
            lies there.
    """

    threads: int = 1
    runs: int | None = None
    min_time_s: float = 1.0
    max_time_s: float = 10.0
    runtime: str | None = None
    cores: str | None = None
    sustained_s: float | None = None
    window_s: float = 60.0
    benchmark_model: str | None = None
    rounds: int | None = None


@dataclass(frozen=True)
class Latency:
    """Statistics of measured inferences in milliseconds: pure functions of the raw times, or what
    a program that keeps those to itself prints; None is what it does not print.

    Attributes:
        p50_ms, p90_ms: medians of the rounds' own.
        p50_low_ms, p50_high_ms, p90_low_ms, p90_high_ms: 95 % intervals from the rounds; of a
            record that has no rounds, made by edgeq 0.1, from the inferences of one process as if
            they were independent, which is too narrow.
    """

    count: int
    min_ms: float
    p50_ms: float | None
    p50_low_ms: float | None
    p50_high_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    mean_ms: float
    stddev_ms: float
    max_ms: float | None = None
    p5_ms: float | None = None
    p95_ms: float | None = None
    p90_low_ms: float | None = None
    p90_high_ms: float | None = None


@dataclass(frozen=True)
class Round:
    """What one process of a measurement gave.

    Attributes:
        count: inferences.
        p50_ms, p90_ms: of them; None where the program does not tell.
        init_ms, first_ms: as in `BenchRun`.
    """

    count: int
    p50_ms: Milliseconds | None
    p90_ms: Milliseconds | None
    init_ms: float
    first_ms: float


@dataclass(frozen=True)
class Energy:
    """What the board's meter counted while a model ran, idle parts of the board included.

    Attributes:
        meter: "RAPL" (the processor packages) or "PMIC" (all metered rails of a Raspberry Pi 5).
        mean_power_w: during the measured inferences.
        per_inference_mj: millijoules.
    """

    meter: str
    mean_power_w: float
    per_inference_mj: float


@dataclass(frozen=True)
class MachineLook:
    """The machine at one moment of a measurement; None where it does not tell.

    Attributes:
        elapsed_s: since the first look, before the models were loaded.
        clock_mhz: of the fastest core in use.
        temperature_celsius: of the hottest sensor.
        throttling: what slows the processor at this moment.
    """

    elapsed_s: float
    clock_mhz: float | None
    temperature_celsius: float | None
    throttling: tuple[str, ...] | None


@dataclass(frozen=True)
class SustainedWindow:
    """A stretch of a sustained run.

    Attributes:
        began_s: since the run began.
        count: inferences.
        p50_ms, p90_ms: None when no inference began in it.
        clock_mhz: median of the looks.
        temperature_celsius: highest.
        throttling: everything that slowed the processor.
    """

    began_s: float
    count: int
    p50_ms: float | None
    p90_ms: float | None
    clock_mhz: float | None
    temperature_celsius: float | None
    throttling: tuple[str, ...]


@dataclass(frozen=True)
class Sustained:
    """What becomes of a model's latency when it runs on and on.

    Attributes:
        duration_s: asked for.
        window_s: length of a window.
        burst: the first window.
        steady: the last third of the windows.
        slowdown: median of the steady state over that of the burst (above 1: slower).
        throttled_after_s: when the first look saw the processor slowed; None when none did.
        watched: what could have told: "flags", "counter", "clock"; empty when nothing could.
    """

    duration_s: float
    window_s: float
    windows: tuple[SustainedWindow, ...]
    burst: Latency
    steady: Latency
    slowdown: float
    throttled_after_s: float | None
    watched: tuple[str, ...]


@dataclass(frozen=True)
class BenchRun:
    """One model measured on one device.

    Attributes:
        model: the file.
        runtime: that executed it.
        threads: interpreter threads.
        init_ms: load and allocate, median of the rounds.
        first_ms: first inference, median of the rounds.
        warmup_ms: raw warm-up inferences of the first round, kept apart.
        latencies_ms: raw measured inferences, one tuple per round; of a sustained run one per
            window, a uniform sample of the window's inferences.
        latency: statistics of latencies_ms.
        peak_rss_bytes: high-water mark of the processes that ran this model alone.
        arena_bytes: activation memory as TFLite's planner lays it out without delegates.
        load_average: one-minute load just before the run.
        validity: "valid", "degraded" or "invalid".
        issues: why.
        cores: that its threads were bound to; empty when the scheduler chose.
        energy: None without a meter, or when too little ran to be metered.
        sustained: None for a run that was not to be sustained.
        rounds: the fresh processes that it was measured in, in turns with the other models;
            empty in records of edgeq 0.1, which measured in one.
    """

    model: FileRef
    runtime: RuntimeInfo
    threads: int
    init_ms: float
    first_ms: float
    warmup_ms: tuple[float, ...]
    latencies_ms: tuple[tuple[Milliseconds, ...], ...]
    latency: Latency
    peak_rss_bytes: int | None
    arena_bytes: int | None
    load_average: float | None
    validity: Validity
    issues: tuple[Issue, ...]
    cores: tuple[int, ...] = ()
    energy: Energy | None = None
    sustained: Sustained | None = None
    rounds: tuple[Round, ...] = ()


@dataclass(frozen=True)
class Ratio:
    """A ratio with its 95 % interval, from rounds in which the models take turns."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class BenchResult:
    """Several models measured in turns on one device.

    Attributes:
        speedups: latency of the first model over that of each later one (above 1: faster); empty
            when a run is invalid.
        looks: at the machine, from before the models were loaded to after the last inference.
    """

    facts: DeviceFacts
    options: BenchOptions
    runs: Annotated[tuple[BenchRun, ...], _SOME]
    speedups: tuple[Ratio, ...]
    looks: tuple[MachineLook, ...] = ()


@dataclass(frozen=True)
class Problem:
    """A coded trouble of a machine, with what mends it.

    Attributes:
        code: of `issues.ISSUE_KINDS`, e.g. "doctor.governor".
        severity: "error" (no run is possible), "warning" (the figures suffer) or "note".
        message: one sentence with the values in it.
        remedy: a command to type on that machine, or what to do; None when nothing helps.
    """

    code: str
    severity: Severity
    message: str
    remedy: str | None


@dataclass(frozen=True)
class RuntimeCheck:
    """A runtime that is installed on a device.

    Attributes:
        failure: why it does not work there, None when it was imported and fits its numpy.
        runs_model: whether it is new enough for the model; None without a model.
    """

    runtime: RuntimeInfo
    failure: str | None
    runs_model: bool | None


@dataclass(frozen=True)
class Part:
    """An optional part of edgeq on the machine that edgeq runs on.

    Attributes:
        version: None when it is not installed here.
        purpose: what needs it.
        remedy: the command that installs it.
    """

    name: str
    version: str | None
    purpose: str
    remedy: str


@dataclass(frozen=True)
class Checkup:
    """Whether a device can run models, and what would make its figures better.

    Attributes:
        runtimes: those installed there, the one that edgeq takes first.
        parts: of edgeq itself; empty for another machine than this one.
        model: that was asked about.
        min_runtime_version: that the model needs, in TensorFlow releases; None when it does not
            say, or without a model.
        problems: the worst first.
        can_run: whether a run is possible there.
        sandbox_gaps: what the sandbox lacks in which models are opened there, a phrase each; None
            where no runtime could be asked.
    """

    facts: DeviceFacts
    runtimes: tuple[RuntimeCheck, ...]
    parts: tuple[Part, ...]
    model: FileRef | None
    min_runtime_version: str | None
    problems: tuple[Problem, ...]
    can_run: bool
    sandbox_gaps: tuple[str, ...] | None = None


# ---------------------------------------------------------------- judging


@dataclass(frozen=True)
class MetricValue:
    """A task metric with its unit ("percent", "" for a plain number) and direction."""

    name: str
    value: float
    unit: str
    is_higher_better: bool


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval, all in the same unit."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """One model's accuracy on one data set.

    Attributes:
        interval: of the first metric when it is a share of samples (Wilson), in the metric's
            unit; None otherwise.
        preprocessing: `--preprocess` texts it was fed with.
        device: that the samples ran on, as the user named it; None in records of before this field.
        processor: of that device, see `DeviceFacts`; likewise.
    """

    model: FileRef
    data: DataRef
    sample_count: int
    runtime: RuntimeInfo
    metrics: tuple[MetricValue, ...]
    interval: Interval | None
    preprocessing: tuple[str, ...] = ()
    issues: tuple[Issue, ...] = ()
    device: str | None = None
    processor: str | None = None


@dataclass(frozen=True)
class PairedCounts:
    """Samples by who got them right: the baseline (FP32) and the candidate (INT8)."""

    both_right: int
    only_baseline: int
    only_candidate: int
    both_wrong: int


@dataclass(frozen=True)
class LostColumn:
    """A column of a part, or a slice of it, that the candidate no longer tells.

    Attributes:
        where: as Python would index the output, e.g. "scores[:, 3]"; the batch goes first.
        sqnr_db: about the column's mean, see `PartQuality`.
        spread: standard deviation of the baseline's values, in the output's units.
    """

    where: str
    sqnr_db: float
    spread: Annotated[float, Meta(ge=0)]


@dataclass(frozen=True)
class PartQuality:
    """How far values that mean the same and have a like range are from the baseline's.

    Attributes:
        where: as Python would index the output, e.g. "pred[:, 4:7]"; its name alone for all of it.
        sqnr_db: 10 log10(S / E), where S is the sum of squared deviations of the baseline from the
            mean of each column, E that of squared errors; inf when identical, None where the
            baseline does not vary.
        spread: root mean square of those deviations, in the output's units.
        step: of an 8-bit tensor that holds this part alone, likewise.
        is_known: False where a column has too few values to know its spread.
        lost: columns and slices that vary by more than a step and are lost, the worst first.
    """

    where: str
    sqnr_db: float | None
    spread: Annotated[float, Meta(ge=0)]
    step: float
    is_known: bool
    lost: tuple[LostColumn, ...] = ()


@dataclass(frozen=True)
class OutputQuality:
    """How far one output of the candidate is from the baseline's, over all samples.

    Attributes:
        sqnr_db: 10 log10(sum of squares of the baseline / sum of squares of the error) over all
            values; inf when identical. It is blind to small parts: `parts` are what is judged.
        mse: mean squared error in the output's units squared.
        max_error: largest absolute error.
        parts: see `edgeq.accuracy.parts`; none in records of edgeq 0.1.
        steps_used, step_count: different values that the candidate gave, and that its integers
            could give; None where they are floats, and in records of 0.1.
        not_finite: values of the baseline that are NaN or infinite.
    """

    name: str
    sqnr_db: float
    mse: float
    max_error: float
    parts: tuple[PartQuality, ...] = ()
    steps_used: int | None = None
    step_count: int | None = None
    not_finite: int = 0


@dataclass(frozen=True)
class Quality:
    """The candidate's outputs and accuracy against the baseline's on the same samples.

    Attributes:
        sample_count: samples compared.
        is_held_out: False when the samples also served for calibration.
        outputs: per output.
        agreement_percent: share of samples with the same top-1; None where it does not apply.
        baseline_accuracy_percent, candidate_accuracy_percent: top-1, when there are labels.
        paired: when there are labels.
        drop_points: accuracy lost in percentage points, with its paired interval.
        scored_output: name of the output that accuracy was measured on.
        class_count: of that output.
    """

    sample_count: Positive
    is_held_out: bool
    outputs: Annotated[tuple[OutputQuality, ...], _SOME]
    agreement_percent: float | None
    baseline_accuracy_percent: Percent | None
    candidate_accuracy_percent: Percent | None
    paired: PairedCounts | None
    drop_points: Interval | None
    scored_output: str | None = None
    class_count: Positive | None = None

    def __post_init__(self) -> None:
        labelled = (
            self.baseline_accuracy_percent, self.candidate_accuracy_percent, self.paired,
            self.drop_points,
        )  # fmt: skip
        _require(
            len({part is None for part in labelled}) == 1,
            "with labels there are two accuracies, their pairs and a drop, without none of them",
        )


@dataclass(frozen=True)
class WayOut:
    """A conversion that was tried because a result had lost a part of the outputs.

    Attributes:
        command: what to type for it.
        sqnr_db: of the outputs' worst part with it; None where no file came of it.
        keeps: whether nothing is lost with it.
    """

    command: str
    sqnr_db: float | None
    keeps: bool


@dataclass(frozen=True)
class Comparison:
    """FP32 against INT8: the seed of every report.

    Attributes:
        bench: baseline first, then candidate; None when latency was not asked for.
        verdict: "ship", "check" or "no", see `judging.judge_comparison`.
        reasons: sentences behind the verdict.
        preprocessing: `--preprocess` texts that both were fed with.
        device, processor: that the samples ran on, see `Evaluation`.
        ways_out: conversions that were tried because a part of the outputs is lost, in the order
            tried; the last one keeps everything, or none does.
    """

    baseline: FileRef
    candidate: FileRef
    data: DataRef
    quality: Quality
    metrics_baseline: tuple[MetricValue, ...]
    metrics_candidate: tuple[MetricValue, ...]
    size_ratio: Annotated[float, Meta(gt=0)]
    bench: BenchResult | None
    verdict: Verdict
    reasons: tuple[str, ...]
    preprocessing: tuple[str, ...] = ()
    issues: tuple[Issue, ...] = ()
    device: str | None = None
    processor: str | None = None
    ways_out: tuple[WayOut, ...] = ()

    def __post_init__(self) -> None:
        names = [
            [metric.name for metric in of] for of in (self.metrics_baseline, self.metrics_candidate)
        ]
        _require(names[0] == names[1], "the two models need the same metrics")
        _require(self.bench is None or len(self.bench.runs) == 2, "a comparison has two runs")


@dataclass(frozen=True)
class Conversion:
    """A finished conversion: what was asked, what came out, and how good it is.

    Attributes:
        source: the float model it was made from.
        data: the representative dataset, None for schemes without.
        test_data: the separate data set that quality was measured on, if any.
        quality: None without data.
        validity: "valid" or "degraded", from the issues.
        versions: (tool, version) pairs.
        ways_out: see `Comparison`.
    """

    options: ConvertOptions
    source: FloatModel
    data: DataRef | None
    test_data: DataRef | None
    model: TfliteModel
    certificate: Certificate
    quality: Quality | None
    validity: Validity
    issues: tuple[Issue, ...]
    versions: tuple[tuple[str, str], ...]
    ways_out: tuple[WayOut, ...] = ()


# ---------------------------------------------------------------- tuning


OBJECTIVES = ("latency", "size")


@dataclass(frozen=True)
class TuneOptions:
    """Everything the user decided about a search.

    Attributes:
        convert: how the model is read, lowered and calibrated, and the budget
            (`max_drop_points`, `min_sqnr_db`).
        objective: what is best inside the budget, "latency" or "size".
        jobs: trials at the same time on this machine; None for one per core.
        cluster: address of a Dask scheduler whose workers try instead, e.g. "tcp://host:8786".
        max_trials: an end for the search; None for as many as it takes.
    """

    convert: ConvertOptions = ConvertOptions()
    objective: str = "latency"
    jobs: int | None = None
    cluster: str | None = None
    max_trials: int | None = None


@dataclass(frozen=True)
class Recipe:
    """One way to quantize, which always gives the same file.

    Attributes:
        statistic: of the ranges, see `Ranges`.
        is_equalized: whether channels were stretched before.
        granularity: "channel" or "tensor".
        corrections: made afterwards, in the order of `converters.corrections.CORRECTIONS`.
        keep_float: names of first outputs of operators in float.
        int16: likewise, with INT16 activations.
    """

    statistic: str
    is_equalized: bool
    granularity: str
    corrections: tuple[str, ...] = ()
    keep_float: tuple[str, ...] = ()
    int16: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """A recipe tried on the exported file.

    Attributes:
        sha256: of the file; None when it could not be made or run.
        structure: digest of operators, dtypes and shapes; files that share it are equally fast.
        sqnr_db: of the outputs' worst part, on the samples that the search looks at.
        paired: accuracy against the float model on the same samples, when there are labels.
        drop_points: accuracy lost in percentage points, with its paired interval.
        speedup: against the float model on the device; None where it was not measured.
        latency_ms: median on the device; likewise.
        is_pareto: whether no other trial is at least as good in quality, speed (if measured) and
            size, and better in one of them; of those that the samples kept apart did not reject.
        failure: why there is no file, in one sentence.
        rejected: why it was not chosen; None of the chosen one, and in records of edgeq 0.1.
        is_refuted: whether it kept the budget in the search, and not on the samples kept apart.
    """

    recipe: Recipe
    sha256: str | None
    size_bytes: int
    structure: str
    sqnr_db: float
    paired: PairedCounts | None
    drop_points: Interval | None
    speedup: Ratio | None = None
    latency_ms: float | None = None
    is_pareto: bool = False
    failure: str | None = None
    rejected: str | None = None
    is_refuted: bool = False


@dataclass(frozen=True)
class LayerEffect:
    """What quantizing one operator alone costs.

    Attributes:
        name: of its first output in the float model.
        operator: e.g. "CONV_2D".
        sqnr_db: of the model's outputs (before a final softmax) with its error alone.
    """

    name: str
    operator: str
    sqnr_db: float


@dataclass(frozen=True)
class Tuning:
    """A finished search.

    Attributes:
        source: the float model.
        model: the chosen file and how it was made.
        certificate: of the chosen file.
        quality: of the chosen file, on samples that the search did not look at where there were
            enough of them (`is_confirmed`).
        trials: all that was tried, the chosen one first.
        layers: the operators that cost most, worst first; empty when the search needed no mix.
        search_samples: how many samples each trial ran on.
        elapsed_s: of the trials alone.
        resumed_trials: taken over from an interrupted run's journal.
        facts: of the device that latency was measured on.
    """

    options: TuneOptions
    source: FloatModel
    data: DataRef
    test_data: DataRef | None
    model: TfliteModel
    certificate: Certificate
    quality: Quality
    trials: tuple[Trial, ...]
    layers: tuple[LayerEffect, ...]
    search_samples: int
    is_confirmed: bool
    elapsed_s: float
    resumed_trials: int
    facts: DeviceFacts
    validity: Validity
    issues: tuple[Issue, ...]
    versions: tuple[tuple[str, str], ...]


# ---------------------------------------------------------------- debugging


@dataclass(frozen=True)
class LayerReport:
    """One operator of a quantized model held against its float twin.

    Attributes:
        name: of its first result in the float model.
        quantized_name: in the quantized model.
        operator: e.g. "CONV_2D".
        own_sqnr_db: of its result, run on the float model's inputs, quantized as it wants them.
        accumulated_sqnr_db: of its result in the quantized model.
        effect_sqnr_db: of the model's outputs, before a final activation, with its error alone;
            None where that was not tried.
        changed_percent: samples whose top-1 class its error alone changes; None without classes.
        lost_points: accuracy that its error alone costs; None without class labels.
        range_use: share of its results' quantized range that float values fill.
        saturation_share: share of float results beyond that range.
        weight_spread: range of the widest channel of the weights over the median channel's.
        is_per_channel: whether its weights have one scale per channel; None without scales.
        input_spread: the same of the input's channels, which share one scale.
        output_spread: of the output's channels.
        outlier_ratio: largest magnitude of the input over its 99.9th percentile.
        bias_share: share of its own squared error that is a constant shift of each channel.
        cause: why, in half a sentence.
        remedy: options that helped most when they were tried; empty where none did.
        position: in execution order, from 0; None in records of before it was kept.
        gain_db: what the remedy added to the outputs' worst part; None where none did, and in
            records of edgeq 0.1, whose remedies were not tried.
    """

    name: str
    quantized_name: str
    operator: str
    own_sqnr_db: float
    accumulated_sqnr_db: float
    effect_sqnr_db: float | None
    changed_percent: float | None
    lost_points: float | None
    range_use: float
    saturation_share: float
    weight_spread: float | None
    is_per_channel: bool | None
    input_spread: float
    output_spread: float
    outlier_ratio: float
    bias_share: float
    cause: str
    remedy: str
    position: int | None = None
    gain_db: float | None = None


@dataclass(frozen=True)
class Remedy:
    """A conversion with other options, tried against the same one without them.

    Attributes:
        options: what is changed, as flags.
        sqnr_db: of the outputs' worst part; None where no file came of it.
        gain_db: what the change added to that; None where no file came of it.
        command: what to type for the whole conversion.
    """

    options: str
    sqnr_db: float | None
    gain_db: float | None
    command: str


@dataclass(frozen=True)
class DebugReport:
    """The culprits of a quantized model.

    Attributes:
        baseline: the float model.
        candidate: the quantized one.
        sample_count: samples that everything is measured on.
        quality: of the whole candidate on them.
        layers: worst first.
        unmatched: names of operators of the float model that have no quantized twin.
        remedies: those tried, what gained most first.
        untried: why none was tried; None where some were, or none was wanted.
    """

    baseline: FileRef
    candidate: FileRef
    data: DataRef
    sample_count: int
    quality: Quality
    layers: tuple[LayerReport, ...]
    unmatched: tuple[str, ...]
    preprocessing: tuple[str, ...]
    issues: tuple[Issue, ...]
    remedies: tuple[Remedy, ...] = ()
    untried: str | None = None


# ---------------------------------------------------------------- profiling


@dataclass(frozen=True)
class OperatorTime:
    """One operator's part of an inference.

    Attributes:
        index: in the file's main subgraph; None for work that belongs to no operator of the file.
        name: of its first output; the runtime's own name where there is no index.
        operator: e.g. "CONV_2D".
        precision: see `OperatorReport`; "" where there is no index.
        kernels: what the runtime calls the pieces that computed it; empty when it ran as part of
            another operator or was dropped.
        is_delegated: whether XNNPACK computed it; None without kernels.
        time_ms: per inference; None without kernels.
        share: of the sum of all operators' times, 0 to 1.
        is_island: float in a file that has quantized operators.
        constant_bytes: of its weights and other constants in the file.
    """

    index: int | None
    name: str
    operator: str
    precision: str
    kernels: tuple[str, ...]
    is_delegated: bool | None
    time_ms: float | None
    share: float
    is_island: bool
    constant_bytes: int


@dataclass(frozen=True)
class TypeTime:
    """All operators of one type together.

    Attributes:
        operator: e.g. "CONV_2D".
        count: operators with a time of their own.
        time_ms: per inference.
        share: of the sum of all operators' times, 0 to 1.
    """

    operator: str
    count: int
    time_ms: float
    share: float


@dataclass(frozen=True)
class ModelProfile:
    """Where the time of one model goes.

    Attributes:
        runs: inferences that were measured.
        latency_ms: median of whole inferences, the profiler at rest.
        operators_ms: sum of all operators' times.
        resolution_ms: added to each of XNNPACK's times, which are cut to whole microseconds.
        operators: in the file's order.
        unmapped: the runtime's work that belongs to no operator of the file.
        types: longest first.
        conversion_ms: of QUANTIZE and DEQUANTIZE.
        island_ms: of float operators in a file that has quantized ones.
    """

    model: FileRef
    runtime: RuntimeInfo
    runs: int
    latency_ms: float
    operators_ms: float
    resolution_ms: float
    operators: tuple[OperatorTime, ...]
    unmapped: tuple[OperatorTime, ...]
    types: tuple[TypeTime, ...]
    conversion_ms: float
    island_ms: float


@dataclass(frozen=True)
class MemorySpeed:
    """What lies between a processor and its weights.

    Attributes:
        bytes_per_s: read and written in a copy, by as many threads as the model had.
        cache_bytes: of the last cache before the memory; None when the machine does not tell.
    """

    bytes_per_s: float
    cache_bytes: int | None


@dataclass(frozen=True)
class Profile:
    """Time per operator of one model, or of two side by side.

    Attributes:
        models: the quantized one first, where just one is; else as given.
        pairs: operators that are the same layer in both, as their indices in each.
        reasons: what the figures say about where quantization gains nothing.
        memory: how fast it was beside the models.
        validity: "valid", "degraded" or "invalid", from the issues.
    """

    facts: DeviceFacts
    threads: int
    memory: MemorySpeed
    models: Annotated[tuple[ModelProfile, ...], _SOME]
    pairs: tuple[tuple[int, int], ...]
    reasons: tuple[str, ...]
    validity: Validity
    issues: tuple[Issue, ...]

    def __post_init__(self) -> None:
        known = [{operator.index for operator in model.operators} for model in self.models[:2]]
        found = [set(side) for side in zip(*self.pairs, strict=True)]
        _require(
            all(own <= there for own, there in zip(found, known, strict=False)),
            "pairs are of operators that are there",
        )


# ---------------------------------------------------------------- inspecting


@dataclass(frozen=True)
class TensorReport:
    """A tensor of a `.tflite`, as the file has it.

    Attributes:
        subgraph: its number.
        index: in the subgraph.
        shape: -1 where dynamic.
        scales: how many; 0 when it is not quantized.
        lowest_scale, highest_scale: None without scales.
        zero_points: the distinct ones, ascending.
        constant_bytes: of its stored values, None when an operator or the caller makes it.
    """

    subgraph: int
    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    scales: int
    lowest_scale: float | None
    highest_scale: float | None
    zero_points: tuple[int, ...]
    constant_bytes: int | None


@dataclass(frozen=True)
class SignatureReport:
    """A signature: the names by which a caller knows inputs and outputs.

    Attributes:
        inputs, outputs: (name, name of the tensor).
    """

    key: str
    subgraph: int
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class MetadataReport:
    """An entry of a file's metadata.

    Attributes:
        text: its content where it is short and readable, else None.
    """

    name: str
    size_bytes: int
    text: str | None


@dataclass(frozen=True)
class Inspection:
    """What is inside a `.tflite`.

    Attributes:
        description: that the tool which made it left there.
        operator_bytes: of the constants that each operator of the certificate reads, in its order;
            a constant counts where it is read first.
        unused_bytes: constants that no operator reads.
        structure_bytes: the rest of the file: operators, names, scales, metadata.
    """

    model: FileRef
    description: str
    certificate: Certificate
    operator_bytes: tuple[int, ...]
    tensors: tuple[TensorReport, ...]
    signatures: tuple[SignatureReport, ...]
    metadata: tuple[MetadataReport, ...]
    unused_bytes: int
    structure_bytes: int

    def __post_init__(self) -> None:
        _require(
            len(self.operator_bytes) == len(self.certificate.operators),
            "every operator needs the size of its constants",
        )


# ---------------------------------------------------------------- gating


@dataclass(frozen=True)
class Origin:
    """Where a figure stands.

    Attributes:
        record: path of the record, as the user wrote it.
        sha256: of the record's bytes.
        json_path: inside it, e.g. "$.quality.drop_points".
    """

    record: str
    sha256: str
    json_path: str


@dataclass(frozen=True)
class Finding:
    """One figure held against its limit.

    Attributes:
        subject: what was measured, so that a rule needs one sound figure of each: a device, or the
            digest of a data set; "" where there is one only.
        verdict: "pass", "fail" or "cannot-tell".
        reason: half a sentence.
        figure: as text with its unit; "" without one.
        value: None without a figure, or when it is no number.
        low, high: 95 % interval, None without one.
        unit: "points", "dB", "bytes", "ms", "x" (times), "percent", "count" or "version".
        origins: of the figure; of a regression the candidate's first, then the baseline's.
        accepted: codes of doubts that the policy accepts.
        remedy: what to do, None when the finding passes.
        is_sound: False when the figure is missing, doubted or not comparable.
    """

    subject: str
    verdict: Judgement
    reason: str
    figure: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    origins: tuple[Origin, ...]
    accepted: tuple[str, ...]
    remedy: str | None
    is_sound: bool


@dataclass(frozen=True)
class RuleVerdict:
    """What the records say about one rule of a policy.

    Attributes:
        rule: its name, with its table, e.g. "devices.pi4.max_p50_ms".
        limit: as text, e.g. "at most 12 ms".
        line: of the policy's file; None when it is not known.
        verdict: "pass", "fail" or "cannot-tell": the worst of the sound findings.
        findings: the one that decides first; those that others outweigh are among them.
    """

    rule: str
    limit: str
    line: int | None
    verdict: Judgement
    findings: Annotated[tuple[Finding, ...], _SOME]


@dataclass(frozen=True)
class GateResult:
    """A policy applied to the records of one model.

    Attributes:
        policy: the file with the rules.
        candidate: the model that is judged.
        records: path and digest of those that were read.
        baseline: the model that regressions are against, None without `--baseline`.
        baseline_records: likewise.
        unused: paths of records without a figure that a gate reads.
        verdict: "fail" when a rule fails, else "cannot-tell" when one cannot be judged, else
            "pass".
        rules: in the policy's order.
    """

    policy: FileRef
    candidate: FileRef
    records: tuple[tuple[str, str], ...]
    baseline: FileRef | None
    baseline_records: tuple[tuple[str, str], ...]
    unused: tuple[str, ...]
    verdict: Judgement
    rules: tuple[RuleVerdict, ...]
