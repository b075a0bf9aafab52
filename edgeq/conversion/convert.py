"""`edgeq convert`: from a model file to a proven `.tflite`, as a straight line of steps."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from edgeq.conversion.command_line import convert_command
from edgeq.conversion.feeding import find_doubt
from edgeq.conversion.file_metadata import finish_file
from edgeq.conversion.plan import choose_mix, require_budgets
from edgeq.conversion.prepare import (
    lower_checked,
    open_outputs,
    open_reader,
    prepare,
    versions,
    without_temporary_path,
)
from edgeq.conversion.proof import check_gates, measure_result, prove
from edgeq.conversion.quantize import quantize_model
from edgeq.conversion.ways_out import Reconverter, find_ways_out, is_lost
from edgeq.converters.calibration.statistics import check_statistic
from edgeq.converters.corrections.correct import parse_corrections
from edgeq.converters.lowering import model_kinds
from edgeq.converters.lowering.exported_models import FRAMEWORKS
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.quantization.resolve_scheme import check_engine, resolve
from edgeq.converters.training import learned_ranges
from edgeq.errors import UsageError, unknown_name
from edgeq.files import storage
from edgeq.files.reading import unchanged
from edgeq.issues import judge
from edgeq.progress import OnNote, OnProgress, no_note
from edgeq.values import (
    CALIBRATORS,
    EFFORTS,
    WEIGHTS,
    Conversion,
    ConvertOptions,
    TfliteModel,
    WayOut,
)
from edgeq.values.schemes import Scheme


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
    on_note: OnNote = no_note,
    tensorflow: TensorFlowProcess | None = None,
) -> Conversion:
    """Convert, prove and write a model; see `api.convert` for the arguments.

    Args:
        tensorflow: already started by the caller, who ends it; started here by default.

    Raises:
        EdgeqError: any of its kinds; nothing is written then.
    """
    scheme, io = _resolve_options(model, options, data, test_data)
    with ExitStack() as stack:
        target, record = open_outputs(stack, output, (model, data, test_data))
        stack.enter_context(unchanged(model))
        ready = prepare(
            stack, model, scheme, io, data=data, test_data=test_data, preprocess=preprocess,
            options=options, verbose=verbose, on_progress=on_progress, on_note=on_note,
            tensorflow=tensorflow,
        )  # fmt: skip
        job, float_model, plan, issues = ready.job, ready.model, ready.plan, ready.issues
        best = quantize_model(job, float_model, plan, ready.run, issues)
        carried = ready.carried(float_model, options.layout)
        target.write_bytes(finish_file(best.content, carried))
        proof = prove(job, target, float_model, choose_mix(job, best.source or float_model), issues)
        quality = measure_result(job, float_model, plan, target, issues)
        ways_out: tuple[WayOut, ...] = ()
        if quality is not None and is_lost(quality) and find_doubt(issues) is None:
            command = partial(
                convert_command, model, output,
                data=data, test_data=test_data, preprocess=preprocess,
            )  # fmt: skip
            ways_out = find_ways_out(Reconverter(ready, options, command, True), quality)
        if plan.samples is not None:
            issues += plan.samples.issues
        finished = Conversion(
            options=options,
            source=without_temporary_path(float_model),
            data=None if plan.samples is None else plan.samples.ref,
            test_data=None if plan.test is None else plan.test.ref,
            model=TfliteModel(
                storage.refer(target, output.as_posix()),
                scheme.name,
                io,
                options.granularity,
                best.ranges,
                best.candidates,
                best.corrections,
                best.correction_samples,
                best.histograms,
            ),
            certificate=proof,
            quality=quality,
            validity=judge(issues),
            issues=tuple(dict.fromkeys(issues)),
            versions=versions(job.process),
            ways_out=ways_out,
        )
        check_gates(finished)
        storage.write_record(record, "convert", finished)
    return finished


# ---------------------------------------------------------------- before anything runs


def _resolve_options(
    model: Any, options: ConvertOptions, data: Any, test_data: Any
) -> tuple[Scheme, str]:
    check_engine(options.engine)
    scheme, io = resolve(options.scheme, options.io, options.granularity)
    scheme = learned_ranges.fit_scheme(scheme, options, learned_ranges.trained_granularity(model))
    for name, value, known in (
        ("effort", options.effort, EFFORTS),
        ("calibrator", options.calibrator, CALIBRATORS),
        ("weights", options.weights, WEIGHTS),
    ):
        if value not in known:
            raise unknown_name(name, value, known)
    for option, is_given in (
        ("--keep-float", options.keep_float),
        ("--int16", options.int16),
        ("--int4", options.int4),
        ("--weights int4", options.weights == "int4"),
        ("--recurrent int8", options.recurrent == "int8"),
    ):
        if is_given and (scheme.activations != "int8" or options.calibrator == "tflite"):
            raise UsageError(
                f"{option} requires --scheme int8 and edgeq's own calibrator.",
                hint=f"Remove {option}, --scheme or --calibrator.",
            )
    check_statistic(options.statistic)
    parse_corrections(options.corrections)
    for option, value, unset in (
        ("--statistic", options.statistic, "auto"),
        ("--corrections", options.corrections, "auto"),
    ):
        if value != unset and not scheme.needs_data:
            raise UsageError(f"{option} {value} has no effect with --scheme {scheme.name}.")
    if options.samples is not None and options.samples < 1:
        raise UsageError(f"--samples must be 1 or more, not {options.samples}.")
    if isinstance(model, (str, Path)):
        model_kinds.identify(Path(model))  # another kind of file needs other help than the rest
    if scheme.needs_data and data is None:
        raise UsageError(
            f"--scheme {scheme.name} needs a representative dataset; none was given.",
            hint="Pass --data with a few hundred real samples, or use --scheme dynamic.",
        )
    require_budgets(options)
    for name, gate in (
        ("--max-drop", options.max_drop_points),
        ("--min-sqnr", options.min_sqnr_db),
    ):
        if gate is not None and data is None and test_data is None:
            raise UsageError(f"{name} needs samples to measure on.", hint="Pass them with --data.")
    return scheme, io


def float_tflite(
    model: Any,
    folder: Path,
    options: ConvertOptions,
    verbose: bool = False,
    tensorflow: TensorFlowProcess | None = None,
) -> Path:
    """Return a `.tflite` for any model: itself, or its checked float lowering in `folder`.

    Args:
        model: see `api.convert`.
        tensorflow: see `convert_model`.

    Raises:
        EdgeqError: see `convert_model`.
    """
    kind = model_kinds.kind_of(model)
    if kind == "tflite":
        return Path(model)
    with ExitStack() as stack:
        process = tensorflow
        if process is None and kind not in ("python", *FRAMEWORKS):
            process = stack.enter_context(TensorFlowProcess(verbose=verbose))
        reader = open_reader(stack, model, process, options, verbose)
        assert reader is not None
        lowered = lower_checked(reader, options, folder)
    return Path(lowered.file.path)
