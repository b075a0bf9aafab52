"""Run the float model once over the samples: lint them, collect ranges, check the lowering."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeq.conversion.plan import CHECK_SAMPLES, Job, SamplePlan
from edgeq.converters.calibration import calibrate
from edgeq.converters.calibration.calibrate import FloatRun, FloatRunner, Inputs
from edgeq.converters.corrections.correct import parse_corrections
from edgeq.converters.graph.rescaling import find_rescaling
from edgeq.converters.lowering import lower
from edgeq.converters.lowering.lower import Reader
from edgeq.converters.rewrites.outputs.cutting import cut_outputs
from edgeq.converters.samples import lint
from edgeq.converters.samples.open_samples import spread
from edgeq.errors import DataError
from edgeq.files import storage
from edgeq.tflite import flatbuffer
from edgeq.tflite.joined_outputs import join_outputs, join_specs
from edgeq.tflite.model_file import read_model
from edgeq.values import FloatModel, Issue

HINT_SAMPLES = 16  # enough for a mean and a spread per channel
KEPT_SAMPLES = 32  # enough to know how far outputs vary
_MOST_KEPT = 32 << 20  # bytes of outputs

Arrays = dict[str, NDArray[Any]]


def run_float(
    job: Job,
    runner: FloatRunner,
    reader: Reader | None,
    model: FloatModel,
    plan: SamplePlan,
    issues: list[Issue],
) -> tuple[FloatRun, FloatModel]:
    """Read, lint and run every calibration sample once.

    Args:
        reader: None for a source that is a `.tflite`.
        issues: receives the linter's issues.

    Returns:
        The run, and the model with its measured deviation from the source.

    Raises:
        DataError: a sample cannot be used for calibration.
        LoweringError: the float `.tflite` computes other values than the source model.
        QuantizationError: the interpreter refused the model or died.
    """
    observe = _what_to_observe(job, model)
    linter = lint.Linter(model.inputs) if job.scheme.needs_data else None
    fed = feed(job, model, plan, "calibrate", linter)
    first = list(islice(fed, CHECK_SAMPLES * calibrate.batch_size(model.inputs)))
    if not first and linter is not None:
        _judge(linter, (), issues)
    few = []
    if linter is not None and reader is not None and len(model.inputs) == 1:
        assert plan.samples is not None
        few = [item.inputs for item in plan.samples.iterate(spread(plan.chosen, HINT_SAMPLES))]
    with ThreadPoolExecutor(1) as beside:  # another child process computes it
        asked = beside.submit(_ask_source, reader, job, model, first, few)
        run = runner.run(model, chain(first, fed), CHECK_SAMPLES, observe, _every(model, plan))
        expected, hints = asked.result()
    if linter is not None:
        _judge(linter, hints, issues)
    if observe != "nothing":
        doubt = lint.lint_half_ranges(run.halves[0], run.halves[1], run.statistics.names)
        issues += [] if doubt is None else [doubt]
    if expected is None:
        return run, model
    joined = join_outputs(run.outputs, model.joins)
    first_outputs = {name: joined[name][: len(own)] for name, own in expected.items()}
    return run, lower.check(model, expected, first_outputs)


def _every(model: FloatModel, plan: SamplePlan) -> int:
    """Return the distance between batches whose outputs are kept."""
    size = 4 * sum(math.prod(spec.shape) for spec in model.outputs if -1 not in spec.shape)
    most = max(CHECK_SAMPLES, min(KEPT_SAMPLES, _MOST_KEPT // max(size, 1)))
    return math.ceil(len(plan.chosen) / calibrate.batch_size(model.inputs) / most)


def run_again(
    job: Job, model: FloatModel, plan: SamplePlan, observe: str | None = None
) -> FloatRun:
    """Run samples that were read and checked before through another form of the model.

    Args:
        observe: see `FloatRunner.run`; None for what the job needs.

    Raises:
        QuantizationError: see `run_float`.
    """
    fed = feed(job, model, plan, "calibrate")
    observe = observe or _what_to_observe(job, model)
    return calibrate.run_float_model(
        model, fed, job.folder, CHECK_SAMPLES, observe, _every(model, plan)
    )


def _what_to_observe(job: Job, model: FloatModel) -> str:
    """Return what the pass keeps of each tensor: histograms only if a later step needs them."""
    options = job.options
    if not job.scheme.needs_data or why_stock(job, model) is not None:
        return "nothing"
    is_fast = options.effort == "fast"
    wants_least = options.statistic in (("auto", "minmax") if is_fast else ("minmax",))
    corrects = parse_corrections(options.corrections) and not (
        is_fast and options.corrections == "auto"
    )
    return "extremes" if wants_least and not corrects else "all"


def why_stock(job: Job, model: FloatModel) -> str | None:
    """Return why TensorFlow Lite's calibrator must be used, None if edgeq's can be."""
    if job.options.calibrator == "tflite":
        return "--calibrator tflite was given"
    return calibrate.why_stock(Path(model.file.path).read_bytes())


def feed(
    job: Job, model: FloatModel, plan: SamplePlan, step: str, linter: lint.Linter | None = None
) -> Iterator[Inputs]:
    """Yield the samples for the float model; random ones without a representative dataset.

    Args:
        linter: reads every sample; after the first broken one, no sample is yielded.
    """
    if plan.samples is None:
        yield from lower.random_samples(model.inputs, CHECK_SAMPLES, job.options.seed)
        return
    chosen = plan.chosen if job.scheme.needs_data else spread(plan.chosen, CHECK_SAMPLES)
    is_clean = True
    for number, sample in enumerate(plan.samples.iterate(chosen)):
        job.on_progress(step, number, len(chosen))
        if linter is not None and not linter.look(sample):
            is_clean = False
        if is_clean:
            yield sample.inputs


def _ask_source(
    reader: Reader | None,
    job: Job,
    model: FloatModel,
    first: Sequence[Inputs],
    few: Sequence[Inputs],
) -> tuple[Arrays | None, tuple[lint.InputHints, ...]]:
    """Return the source model's outputs, and its hints about the values that it expects.

    The outputs are None for a `.tflite` that was not rewritten, which is its own source.

    Args:
        first: samples to compare the outputs on.
        few: samples of all classes, whose statistics are compared; without them, no hints.
    """
    if reader is None:
        if not model.rewrites:
            return None, ()
        own = flatbuffer.interface(read_model(Path(model.source.path)).tree)[0]
        fed = ({spec.name: row[spec.name].astype(spec.dtype) for spec in own} for row in first)
        outputs = join_specs(model.outputs, model.joins)
        folder = job.folder / "source"
        folder.mkdir()
        source = replace(model, file=model.source, inputs=own, outputs=outputs, joins=())
        if job.options.outputs:
            path = folder / "cut.tflite"
            path.write_bytes(cut_outputs(Path(model.source.path).read_bytes(), job.options.outputs))
            source = replace(source, file=storage.refer(path))
        before = calibrate.run_float_model(source, fed, folder, CHECK_SAMPLES, "nothing")
        return before.outputs, ()
    inputs = calibrate.first_inputs(iter(first), model.inputs, CHECK_SAMPLES)
    # A model that was cut off has other outputs: the whole one was checked, see `prepare`.
    expected = None if job.options.outputs else reader.predict(inputs)
    if not few:
        return expected, ()
    size = max(model.inputs[0].shape[0], 1)
    whole = few[: len(few) // size * size] or few
    name = model.inputs[0].name
    statistics = None
    if all(sample[name].shape == few[0][name].shape for sample in whole):
        statistics = reader.batch_statistics(calibrate.stack(whole, model.inputs))
    hint = lint.InputHints(
        name=name,
        rescaling=reader.rescaling() or find_rescaling(read_model(Path(model.file.path)).tree),
        observed_over_expected_std=None if statistics is None else statistics[0],
        mean_shift_in_std=None if statistics is None else statistics[1],
    )
    return expected, (hint,)


def _judge(linter: lint.Linter, hints: Sequence[lint.InputHints], issues: list[Issue]) -> None:
    """Add the linter's issues; raise the first error among them.

    Raises:
        DataError: the first error.
    """
    found = linter.issues(hints)
    errors = [issue for issue in found if issue.severity == "error"]
    if errors:
        raise DataError(errors[0].message)
    issues += found
