"""`--engine litert`: run litert-quantizer and check that its file computes what it states."""

from __future__ import annotations

from pathlib import Path

from edgeq.accuracy.paired_runs import measure_quality
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.conversion.calibration_pass import feed
from edgeq.conversion.plan import CHECK_SAMPLES, Job, SamplePlan
from edgeq.conversion.selection import Quantized
from edgeq.converters.graph import dequantized, widening
from edgeq.converters.lowering import lower
from edgeq.converters.quantization import litert_engine
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.errors import CertificateError
from edgeq.values import ConvertOptions, FloatModel, Ranges

# Two orders of summation in float agree to 100 dB or more; a misread weight, to 20 dB at most.
_SAME_DB = 60.0


def quantize_with_litert(job: Job, model: FloatModel, plan: SamplePlan) -> Quantized:
    """Quantize with litert-quantizer, and set the operator versions, which it does not update.

    Raises:
        CertificateError: the runtime here reads the weights differently.
        QuantizationError: litert-quantizer refused the model, or died.
    """
    scheme, granularity = job.scheme, job.options.granularity
    content = Path(model.file.path).read_bytes()
    samples = None
    if scheme.needs_data:
        recipe = litert_engine.static_recipe(job.io, granularity)
        samples = feed(job, model, plan, "calibrate (litert-quantizer)")
    else:
        bits = 4 if scheme.weights == "int4" else 8
        is_dynamic = scheme.precision == "dynamic"
        recipe = litert_engine.weight_recipe(content, bits, granularity, is_dynamic=is_dynamic)
    made, mode = litert_engine.quantize(model, recipe, samples, job.folder)
    if scheme.precision == "weight-only":
        made = widening.prepare(made)
        check_weights(made, model, job.options, job.folder)
    if mode is None:
        return Quantized(made)
    statistic = "moving-average" if mode == "tensors" else "moving-average-profiler"
    return Quantized(made, Ranges("litert", statistic, len(plan.chosen), (), ""))


def check_weights(content: bytes, model: FloatModel, options: ConvertOptions, folder: Path) -> None:
    """Compare a weight-only file with the same model whose weights numpy has dequantized.

    Raises:
        CertificateError: their outputs differ.
        DeviceError: the runtime refused the file, or died.
    """
    made, twin = folder / "weight-only.tflite", folder / "widened.tflite"
    made.write_bytes(content)
    twin.write_bytes(dequantized.float_twin(content))
    drawn = lower.random_samples(model.inputs, CHECK_SAMPLES, options.seed)
    pairs = ((inputs, None) for inputs in drawn)
    found = worst_sqnr_db(measure_quality(twin, made, pairs, resolve_device("local")))
    if found < _SAME_DB:
        raise CertificateError(
            f"The runtime here reads the file's weights wrongly: its outputs agree with those of "
            f"the dequantized weights to {found:.1f} dB only.",
            hint="Use --granularity channel, or another --scheme.",
        )


def engine_versions(options: ConvertOptions) -> tuple[tuple[str, str], ...]:
    """Return the second engine's version for the record, () if it was not used."""
    if options.engine == "edgeq":
        return ()
    return (("litert-quantizer", litert_engine.find().version),)
