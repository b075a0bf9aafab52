"""Quantize a prepared float model with the chosen calibrator."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from edgeq.conversion.calibration_pass import feed, why_stock
from edgeq.conversion.plan import Job, SamplePlan
from edgeq.conversion.selection import Quantized, quantize_best
from edgeq.conversion.weight_check import check_weights
from edgeq.converters.calibration.calibrate import FloatRun
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.quantization import quantize
from edgeq.converters.training import learned_ranges
from edgeq.converters.writer.precisions import name_of
from edgeq.errors import LoweringError, QuantizationError, UsageError
from edgeq.issues import make_issue
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import read_model
from edgeq.values import FloatModel, Issue, Ranges
from edgeq.wording import repeat_option

_IN_FLOAT = "--scheme dynamic and fp16 keep all activations in float."
_RELU = 1  # ActivationFunctionType of the schema


def quantize_model(
    job: Job, model: FloatModel, plan: SamplePlan, run: FloatRun, issues: list[Issue]
) -> Quantized:
    """Quantize with the job's options.

    Args:
        run: the calibration pass over the float model.
        issues: receives notes.

    Raises:
        UsageError: an option needs edgeq's own calibrator, which does not support this model.
        QuantizationError: the quantizer or a correction failed.
    """
    job.on_progress("quantize", 0, None)
    shape = (job.scheme, job.io, job.options.granularity)
    if learned_ranges.is_learned(job.scheme, model):
        return Quantized(*learned_ranges.quantize_learned(model, *shape))
    if not job.scheme.needs_data:
        content = Path(model.file.path).read_bytes()
        made = quantize.quantize(content, None, *shape)
        if job.scheme.precision == "weight-only":
            check_weights(made, model, job.options.seed, job.folder)
        return Quantized(made)
    reason = why_stock(job, model)
    if reason is None:
        return quantize_best(job, model, plan, run, issues)
    for name, is_given in (
        ("--keep-float", bool(job.options.keep_float)),
        ("--int16", bool(job.options.int16)),
        ("--int4", bool(job.options.int4)),
        ("--weights int4", job.options.weights == "int4"),
        ("--statistic", job.options.statistic not in ("auto", "minmax")),
        ("--corrections", job.options.corrections not in ("auto", "none")),
    ):
        if is_given:
            raise UsageError(
                f"{name} needs edgeq's own calibrator, which cannot be used: {reason}.",
                hint=f"Remove {name}: this model needs the stock calibrator.",
            )
    issues.append(make_issue("convert.stock_calibrator", f"stock calibrator used: {reason}"))
    _require_svdf_kernels(model)
    fed = feed(job, model, plan, "calibrate (stock)")
    with ExitStack() as stack:
        process = job.process or stack.enter_context(TensorFlowProcess())
        try:
            content = quantize.quantize_with_stock(model, fed, *shape, process, job.folder)
        except (QuantizationError, LoweringError) as error:
            if job.options.calibrator == "tflite":
                raise
            raise QuantizationError(
                f"TensorFlow Lite's quantizer cannot convert this model, because {reason}.",
                hint=_fixed_sizes(model, plan) or _IN_FLOAT,
                details=f"{error}\n{error.details or ''}",
            ) from error
    return Quantized(content, Ranges("tflite", "minmax", len(plan.chosen), (), ""))


def _fixed_sizes(model: FloatModel, plan: SamplePlan) -> str | None:
    """Return the options that let Keras unroll the loops of recurrent layers, if they help."""
    dynamic = [spec.name for spec in model.inputs if -1 in spec.shape]
    if not dynamic or plan.samples is None or model.source_kind not in ("keras", "h5", "python"):
        return None
    first = next(iter(plan.samples.iterate(plan.chosen[:1])))
    shapes = [f"{name}=1,{','.join(map(str, first.inputs[name].shape))}" for name in dynamic]
    options = repeat_option("--input-shape", shapes)
    return f"Fix the number of time steps, so that edgeq unrolls the loop: {options}"


def _require_svdf_kernels(model: FloatModel) -> None:
    """Refuse an SVDF that the quantizer makes INT8 and no kernel computes (kernels/svdf.cc)."""
    tree = read_model(Path(model.file.path)).tree
    for operator in tree.subgraphs[0].operators:
        if flatbuffer.operator_name(tree, operator) != "SVDF":
            continue
        if getattr(operator.builtinOptions, "fusedActivationFunction", 0) != _RELU:
            raise QuantizationError(
                "TensorFlow Lite has an integer kernel for SVDF with a fused ReLU only, which "
                f"{name_of(tree, operator)!r} does not have.",
                hint=_IN_FLOAT,
            )
