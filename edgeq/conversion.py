"""`edgeq convert`: from a model file to a proven `.tflite`, as a straight line of steps."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import Any

from edgeq import flatbuffer, storage
from edgeq.converters import calibration, lint, lowering, quantization, source
from edgeq.converters.calibration import FloatRun, Inputs
from edgeq.converters.lowering import FileReader, Reader
from edgeq.converters.preprocessing import format_preprocessing, parse_preprocessing
from edgeq.converters.process import TensorFlowProcess
from edgeq.converters.range_mending import mend_ranges
from edgeq.converters.samples import Samples
from edgeq.converters.schemes import Scheme, resolve
from edgeq.errors import DataError, UsageError
from edgeq.issues import judge, make_issue
from edgeq.planning import CHECK_SAMPLES, Job, OnProgress, SamplePlan, plan_samples
from edgeq.proof import check_gates, measure_result, prove
from edgeq.range_choice import quantize_best
from edgeq.values import (
    Conversion,
    ConvertOptions,
    FloatModel,
    Issue,
    Preprocessing,
    Ranges,
    TfliteModel,
)

HINT_SAMPLES = 32  # enough for a mean and a spread per channel
PREPROCESSING_KEY = "edgeq.preprocessing"

EFFORTS = ("fast", "balanced", "best")
CALIBRATORS = ("edgeq", "tflite")


def convert_model(
    model: Any,
    output: Path,
    *,
    data: Any,
    test_data: Any,
    preprocess: Sequence[str],
    options: ConvertOptions,
    verbose: bool,
    on_progress: OnProgress,
) -> Conversion:
    """Convert, prove and write a model; see `api.convert` for the arguments.

    Raises:
        EdgeqError: any of its kinds; nothing is written then.
    """
    scheme, io = _resolve_options(options, data, test_data)
    if isinstance(model, (str, Path)) and output.exists() and output.samefile(model):
        raise UsageError(f"-o {output} is the model itself.", hint="Choose another -o.")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeq-")))
        target = stack.enter_context(storage.replacing(output))
        process = _start_tensorflow(stack, model, scheme, options, folder, verbose)
        reader = _open_reader(model, process)
        on_progress("lower", 0, None)
        if reader is None:
            float_model = lowering.adopt(Path(model), options)
        else:
            float_model = reader.lower(options, folder)
        declared = parse_preprocessing(preprocess, float_model.inputs)
        plan = plan_samples(float_model, declared, data, test_data, options)
        job = Job(scheme, io, options, folder, process, on_progress)
        issues = list(plan.issues)
        run, float_model = _run_float(job, reader, float_model, plan, issues)
        content, ranges = _quantize(job, float_model, plan, run, issues)
        target.write_bytes(_finish_file(content, scheme, declared))
        proof = prove(job, target, float_model, issues)
        quality = measure_result(job, float_model, plan, target)
        if plan.samples is not None:
            issues += plan.samples.issues
        file = storage.refer(target, str(output))
        made = TfliteModel(file, scheme.name, io, options.granularity, ranges)
        finished = Conversion(
            options=options,
            source=_without_temporary_path(float_model),
            data=None if plan.samples is None else plan.samples.ref,
            test_data=None if plan.test is None else plan.test.ref,
            model=made,
            certificate=proof,
            quality=quality,
            validity=judge(issues),
            issues=tuple(dict.fromkeys(issues)),
            versions=_versions(process),
        )
        check_gates(finished)
    return finished


# ---------------------------------------------------------------- before anything runs


def _resolve_options(options: ConvertOptions, data: Any, test_data: Any) -> tuple[Scheme, str]:
    scheme, io = resolve(options.scheme, options.io, options.granularity)
    for name, value, known in (
        ("effort", options.effort, EFFORTS),
        ("calibrator", options.calibrator, CALIBRATORS),
    ):
        if value not in known:
            raise UsageError(f"Unknown {name} {value!r}; known are {', '.join(known)}.")
    if options.samples is not None and options.samples < 1:
        raise UsageError(f"--samples {options.samples} leaves nothing to calibrate on.")
    if scheme.needs_data and data is None:
        raise UsageError(
            f"--scheme {scheme.name} calibrates on a representative dataset, and there is none.",
            hint="Pass --data with some hundred real samples, or use --scheme dynamic.",
        )
    for name, gate in (
        ("--max-drop", options.max_drop_points),
        ("--min-sqnr", options.min_sqnr_db),
    ):
        if gate is not None and data is None and test_data is None:
            raise UsageError(f"{name} needs samples to measure on.", hint="Pass them with --data.")
    return scheme, io


def _start_tensorflow(
    stack: ExitStack,
    model: Any,
    scheme: Scheme,
    options: ConvertOptions,
    folder: Path,
    verbose: bool,
) -> TensorFlowProcess | None:
    """Start TensorFlow for what needs it: reading frameworks' files, and TFLite's quantizer."""
    is_file = isinstance(model, (str, Path))
    is_tflite = is_file and source.identify(Path(model)) == "tflite"
    if is_tflite:
        lowering.adopt(Path(model), options)  # refuse a bad file before anything is started
    if scheme.name in ("fp32", "fp16") and (is_tflite or not is_file):
        return None
    return stack.enter_context(TensorFlowProcess(folder, verbose=verbose))


def _open_reader(model: Any, process: TensorFlowProcess | None) -> Reader | None:
    """Who reads the source; None for a `.tflite`, which needs no reading."""
    if not isinstance(model, (str, Path)):
        from edgeq.converters.live import LiveReader

        return LiveReader(model)
    kind = source.identify(Path(model))
    if kind == "tflite":
        return None
    assert process is not None
    return FileReader(Path(model), kind, process)


# ---------------------------------------------------------------- the float model


def _run_float(
    job: Job, reader: Reader | None, model: FloatModel, plan: SamplePlan, issues: list[Issue]
) -> tuple[FloatRun, FloatModel]:
    """One pass over the calibration samples: lint them, collect ranges, check the lowering."""
    observe = job.scheme.needs_data and _why_stock(job, model) is None
    if job.scheme.needs_data:
        _lint(job, reader, model, plan, issues)
    fed = _feed(job, model, plan, "calibrate")
    first = list(islice(fed, CHECK_SAMPLES * calibration.batch_size(model.inputs)))
    with ThreadPoolExecutor(1) as pool:
        # The source model answers in its own process while the float model runs in another.
        inputs = calibration.first_inputs(iter(first), model.inputs, CHECK_SAMPLES)
        expected = None if reader is None else pool.submit(reader.predict, inputs)
        run = calibration.run_float_model(
            model, chain(first, fed), job.folder, CHECK_SAMPLES, observe=observe
        )
    if observe:
        names = [item.name for item in run.ranges.tensors]
        doubt = lint.lint_half_ranges(run.halves[0], run.halves[1], names)
        issues += [] if doubt is None else [doubt]
    if expected is None:
        return run, model
    return run, lowering.check(model, expected.result(), run.outputs)


def _feed(job: Job, model: FloatModel, plan: SamplePlan, step: str) -> Iterator[Inputs]:
    """The samples for the float model; random ones where there are none."""
    if plan.samples is None:
        yield from lowering.random_samples(model.inputs, CHECK_SAMPLES, job.options.seed)
        return
    chosen = plan.chosen if job.scheme.needs_data else plan.chosen[:CHECK_SAMPLES]
    for number, sample in enumerate(plan.samples.iterate(chosen)):
        job.on_progress(step, number, len(chosen))
        yield sample.inputs


def _lint(
    job: Job, reader: Reader | None, model: FloatModel, plan: SamplePlan, issues: list[Issue]
) -> None:
    """Look at the samples before calibrating; an error among the issues stops the work."""
    assert plan.samples is not None
    job.on_progress("check data", 0, None)
    hints = _hints(reader, model, plan.samples, plan.chosen)
    found = lint.lint_samples(plan.samples.iterate(plan.chosen), model.inputs, hints)
    issues += found
    errors = [issue for issue in found if issue.severity == "error"]
    if errors:
        raise DataError(errors[0].message)


def _hints(
    reader: Reader | None, model: FloatModel, samples: Samples, chosen: Sequence[int]
) -> tuple[lint.InputHints, ...]:
    """What the source model tells about the values it expects."""
    if reader is None or len(model.inputs) != 1:
        return ()
    first = [sample.inputs for sample in samples.iterate(chosen[:HINT_SAMPLES])]
    size = max(model.inputs[0].shape[0], 1)
    whole = first[: len(first) // size * size] or first
    name = model.inputs[0].name
    statistics = None
    if all(inputs[name].shape == first[0][name].shape for inputs in whole):
        stacked = calibration.stack(whole, model.inputs)
        statistics = reader.batch_statistics(stacked)
    return (
        lint.InputHints(
            name=name,
            rescaling=reader.rescaling(),
            observed_over_expected_std=None if statistics is None else statistics[0],
            mean_shift_in_std=None if statistics is None else statistics[1],
        ),
    )


def _why_stock(job: Job, model: FloatModel) -> str | None:
    if job.options.calibrator == "tflite":
        return "--calibrator tflite was given"
    return calibration.why_stock(Path(model.file.path).read_bytes())


# ---------------------------------------------------------------- the quantized model


def _quantize(
    job: Job, model: FloatModel, plan: SamplePlan, run: FloatRun, issues: list[Issue]
) -> tuple[bytes, Ranges | None]:
    job.on_progress("quantize", 0, None)
    shape = (job.scheme, job.io, job.options.granularity, job.process, job.folder)
    if not job.scheme.needs_data:
        return quantization.quantize(model, None, *shape), None
    reason = _why_stock(job, model)
    if reason is None:
        ranges, mended = mend_ranges(Path(model.file.path).read_bytes(), run.ranges)
        if mended:
            issues.append(
                make_issue(
                    "convert.constant_tensors",
                    f"{len(mended)} tensors stayed at zero over all samples ({mended[0]} first); "
                    "their range is an estimate from their operands",
                )
            )
        content, ranges, notes = quantize_best(job, model, plan, ranges)
        issues += notes
        return content, ranges
    issues.append(make_issue("convert.stock_calibrator", f"stock calibrator used: {reason}"))
    fed = _feed(job, model, plan, "calibrate (stock)")
    content = quantization.quantize_with_stock(model, fed, *shape)
    return content, Ranges("tflite", "minmax", len(plan.chosen), (), "")


def _finish_file(content: bytes, scheme: Scheme, declared: Sequence[Preprocessing]) -> bytes:
    """Compact the file, and let the preprocessing travel inside it, for eval and bench."""
    tree = flatbuffer.parse(content, "the quantized model")
    flatbuffer.compact(tree)
    if scheme.oldest_runtime is not None:
        flatbuffer.require_runtime(tree, scheme.oldest_runtime)
    if declared:
        texts = [format_preprocessing(item) for item in declared]
        flatbuffer.set_metadata(tree, PREPROCESSING_KEY, json.dumps(texts).encode())
    return flatbuffer.serialize(tree)


def read_preprocessing(path: Path) -> tuple[str, ...]:
    """The `--preprocess` texts that a converted file carries, none for files from elsewhere."""
    raw = flatbuffer.metadata(flatbuffer.read(path), PREPROCESSING_KEY)
    return () if raw is None else tuple(json.loads(raw))


def _without_temporary_path(model: FloatModel) -> FloatModel:
    if model.source_kind == "tflite":
        return model
    return replace(model, file=replace(model.file, path="(lowered float model)"))


def _versions(process: TensorFlowProcess | None) -> tuple[tuple[str, str], ...]:
    own = {name: version(name) for name in ("edgeq", "ai-edge-litert", "numpy")}
    if process is not None:
        own.update(process.call("versions"))
    return tuple(sorted(own.items()))


def float_tflite(path: Path, folder: Path, options: ConvertOptions, verbose: bool = False) -> Path:
    """A `.tflite` for any model file: itself, or its checked float lowering in `folder`.

    Raises:
        EdgeqError: see `convert_model`.
    """
    if source.identify(path) == "tflite":
        return path
    with TensorFlowProcess(folder, verbose=verbose) as process:
        reader = FileReader(path, source.identify(path), process)
        model = reader.lower(options, folder)
        fed = lowering.random_samples(model.inputs, CHECK_SAMPLES, options.seed)
        first = calibration.first_inputs(iter(fed), model.inputs, CHECK_SAMPLES)
        run = calibration.run_float_model(model, iter(fed), folder, CHECK_SAMPLES, observe=False)
        lowering.check(model, reader.predict(first), run.outputs)
    return Path(model.file.path)
