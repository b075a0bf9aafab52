"""Read, lower and calibrate a model once, before any quantized file is made."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgeq.accuracy.class_names import require_clear_names
from edgeq.conversion.adapting import adapt
from edgeq.conversion.calibration_pass import run_float
from edgeq.conversion.file_metadata import Carried
from edgeq.conversion.forms import choose_form, lower_forms, require_recurrent
from edgeq.conversion.plan import (
    CHECK_SAMPLES,
    Job,
    SamplePlan,
    choose_mix,
    plan_samples,
    select_options,
)
from edgeq.conversion.wide_ends import keep_ends_wide
from edgeq.converters.calibration.calibrate import (
    FloatRun,
    FloatRunner,
    first_inputs,
    run_float_model,
)
from edgeq.converters.graph.folding import find_unfolded
from edgeq.converters.lowering import lower, model_kinds, resizing
from edgeq.converters.lowering.exported_models import FRAMEWORKS, ExportedReader, refuse_options
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.lowering.lower import FileReader, FindInputs, Reader
from edgeq.converters.samples.open_samples import find_inputs
from edgeq.converters.samples.preprocessing import format_preprocessing, parse_preprocessing
from edgeq.converters.writer.precisions import name_of, recurrent_names
from edgeq.device_runners.devices.kept_agent import KeptAgent
from edgeq.errors import UsageError
from edgeq.files import scratch, storage
from edgeq.issues import make_issue
from edgeq.metrics.decoding import parse_decoding, show_decoding
from edgeq.progress import OnNote, OnProgress, no_note
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import read_model
from edgeq.values import ConvertOptions, FloatModel, Issue
from edgeq.values.schemes import Scheme


@dataclass(frozen=True)
class Prepared:
    """A calibrated float model.

    Attributes:
        preprocessing: `--preprocess` texts to store in the file.
        decoding: `--decode` text to store in it, None without.
        run: the calibration pass.
        issues: the issues so far; later steps add more.
    """

    job: Job
    model: FloatModel
    preprocessing: tuple[str, ...]
    decoding: str | None
    plan: SamplePlan
    run: FloatRun
    issues: list[Issue]

    def carried(self, model: FloatModel, layout: str) -> Carried:
        """Return what a file carries that is made from a form of the model."""
        outputs = self.job.options.outputs
        return Carried(
            self.preprocessing, layout, model.rewrites, self.decoding, model.joins, outputs
        )


def prepare(
    stack: ExitStack,
    model: Any,
    scheme: Scheme,
    io: str,
    *,
    data: Any,
    test_data: Any,
    preprocess: Sequence[str],
    options: ConvertOptions,
    verbose: bool,
    on_progress: OnProgress,
    on_note: OnNote = no_note,
    tensorflow: TensorFlowProcess | None,
) -> Prepared:
    """Read, lower and calibrate; see `api.convert` for the arguments.

    Args:
        stack: ends the processes and removes the working folder.

    Raises:
        EdgeqError: any of its kinds.
    """
    folder = stack.enter_context(scratch.folder())
    process = _start_tensorflow(stack, model, options, verbose, tensorflow)
    # They import their libraries while the model is read.
    runner = stack.enter_context(FloatRunner(folder))
    device = stack.enter_context(KeptAgent())
    find = None if data is None else partial(find_inputs, data, preprocess)
    reader = open_reader(stack, model, process, options, verbose, find, on_note)
    on_progress("lower", 0, None)
    if reader is None:
        adopted = resizing.fix_shapes(lower.adopt(Path(model), options), options, folder)
        forms = [adapt(adopted, scheme, options, folder)]
    else:
        if options.outputs:
            whole = folder / "whole"
            whole.mkdir()
            lower_checked(reader, options, whole)
        forms = list(lower_forms(reader, scheme, options, folder))
    require_recurrent(forms, options)
    float_model = forms[0]
    declared = parse_preprocessing(preprocess, float_model.inputs)
    plan = plan_samples(float_model, declared, data, test_data, options)
    if plan.test is not None:
        calibrating = [] if plan.samples is None else [plan.samples]
        known = [(samples.name, samples.class_names) for samples in calibrating]
        require_clear_names(plan.test, float_model.outputs, known)
    job = Job(scheme, io, options, folder, process, on_progress, device)
    mix = select_options(Path(float_model.file.path).read_bytes(), options)
    slower = warn_of_int4(float_model, mix.int4)
    for issue in slower:
        on_note(issue.message)
    issues = [*_other_dtypes(float_model), *plan.issues, *_unfolded(float_model), *slower]
    run, float_model = run_float(job, runner, reader, float_model, plan, issues)
    if len(forms) > 1:
        run, float_model = choose_form(job, plan, run, (float_model, *forms[1:]), issues)
    job, float_model, run = keep_ends_wide(job, float_model, plan, run, issues)
    issues += _wide_steps(job, float_model)
    texts = tuple(format_preprocessing(item) for item in declared)
    decoding = None if options.decode is None else show_decoding(parse_decoding(options.decode))
    return Prepared(job, float_model, texts, decoding, plan, run, issues)


def lower_checked(reader: Reader, options: ConvertOptions, folder: Path) -> FloatModel:
    """Lower a source, and compare the result with it on random inputs.

    Raises:
        EdgeqError: see `convert_model`.
    """
    model = reader.lower(options, folder)
    fed = lower.random_samples(model.inputs, CHECK_SAMPLES, options.seed)
    first = first_inputs(iter(fed), model.inputs, CHECK_SAMPLES)
    run = run_float_model(model, iter(fed), folder, CHECK_SAMPLES, "nothing")
    return lower.check(model, reader.predict(first), run.outputs)


def open_outputs(stack: ExitStack, output: Path, sources: Sequence[Any]) -> tuple[Path, Path]:
    """Return temporary paths of the `.tflite` and its record; both are kept, or neither is."""
    record = storage.record_beside(output)
    for target in (output, record):
        storage.refuse_overwriting(target, sources)
    if output.suffix != ".tflite":
        raise UsageError(
            f"-o {output} must end in .tflite.",
            hint=f"For example: -o {shlex.quote(str(output.with_suffix('.tflite')))}",
        )
    return (
        stack.enter_context(storage.replacing(output)),
        stack.enter_context(storage.replacing(record)),
    )


def _start_tensorflow(
    stack: ExitStack,
    model: Any,
    options: ConvertOptions,
    verbose: bool,
    started: TensorFlowProcess | None,
) -> TensorFlowProcess | None:
    """Start TensorFlow if a step needs it: reading Keras files, or the stock calibrator."""
    kind = model_kinds.kind_of(model)
    if options.calibrator != "tflite" and kind in ("tflite", "python", *FRAMEWORKS):
        return None
    if kind == "tflite":
        lower.adopt(Path(model), options)  # refuse a bad file before TensorFlow is started
    return started or stack.enter_context(TensorFlowProcess(verbose=verbose))


def _other_dtypes(model: FloatModel) -> list[Issue]:
    if not model.other_dtypes:
        return []
    message = (
        f"the model computes in {', '.join(model.other_dtypes)}, which TensorFlow Lite's operators "
        "do not; it was read in float32, and all comparisons are with float32"
    )
    return [make_issue("convert.read_in_float32", message)]


def _unfolded(model: FloatModel) -> list[Issue]:
    found = find_unfolded(Path(model.file.path).read_bytes())
    if not found:
        return []
    message = (
        f"{len(found)} layers are followed by a constant that should be part of their weights, "
        f"such as a batch normalization that was not folded ({found[0].split(';')[0]!r} first); "
        "they cost time and accuracy"
    )
    return [make_issue("convert.unfolded", message)]


def _wide_steps(job: Job, model: FloatModel) -> list[Issue]:
    """Return the note that recurrent layers have INT16 inside."""
    chosen = set(choose_mix(job, model).int16)
    if not chosen:
        return []
    tree = read_model(Path(model.file.path)).tree
    count = len(chosen & set(recurrent_names(tree)))
    if not count or job.scheme.activations != "int8":
        return []
    message = (
        f"{count} operators inside recurrent layers have INT16 activations, because errors add up "
        "from step to step; --recurrent int8 is faster with XNNPACK, and less accurate"
    )
    return [make_issue("convert.recurrent", message)]


def warn_of_int4(model: FloatModel, narrow: Collection[str]) -> list[Issue]:
    """Return the note that INT4 weights of convolutions cost time.

    Args:
        narrow: names of the operators with INT4 weights.
    """
    tree = read_model(Path(model.file.path)).tree
    names = [
        name
        for operator in tree.subgraphs[0].operators
        if flatbuffer.operator_name(tree, operator) != "FULLY_CONNECTED"
        and (name := name_of(tree, operator)) in narrow
    ]
    if not names:
        return []
    message = (
        f"{len(names)} convolutions get INT4 weights ({names[0].split(';')[0]!r} first): XNNPACK "
        "cannot run them, so they take 3 times as long as in INT8 on a CPU, and depthwise ones "
        "still longer; fully connected layers cost no time: convert --int4 type:FULLY_CONNECTED"
    )
    return [make_issue("convert.int4_convolutions", message)]


def open_reader(
    stack: ExitStack,
    model: Any,
    process: TensorFlowProcess | None,
    options: ConvertOptions,
    verbose: bool,
    find_inputs: FindInputs | None = None,
    on_note: OnNote = no_note,
) -> Reader | None:
    """Open the reader for this kind of source; None for a `.tflite`.

    Args:
        find_inputs: see `lower.declare`.

    Raises:
        UsageError: options that have no effect for this kind of source.
        MissingExtraError: the converter for it is not installed.
    """
    kind = model_kinds.kind_of(model)
    refuse_options(kind, options)
    if kind == "python":
        from edgeq.converters.lowering.live import LiveReader

        return LiveReader(model, find_inputs)
    if kind == "tflite":
        return None
    if kind in FRAMEWORKS:
        reader = ExportedReader(Path(model), kind, options, verbose=verbose, on_note=on_note)
        return stack.enter_context(reader)
    assert process is not None
    return FileReader(Path(model), kind, process, find_inputs)


def without_temporary_path(model: FloatModel) -> FloatModel:
    """Return the source as a record shows it, without the path of a temporary file."""
    if model.source_kind == "tflite" and model.file == model.source:
        return model
    how = "rewritten" if model.rewrites else "lowered"
    return replace(model, file=replace(model.file, path=f"({how} float model)"))


def versions(process: TensorFlowProcess | None) -> tuple[tuple[str, str], ...]:
    """Return the versions of the libraries that took part, sorted by name."""
    own = {name: version(name) for name in ("edgeq", "ai-edge-litert", "numpy")}
    if process is not None:
        own.update(process.call("versions"))
    return tuple(sorted(own.items()))
