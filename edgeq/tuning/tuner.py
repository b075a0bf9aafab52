"""`edgeq tune`: lower once, calibrate once, search, choose, prove."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeq.accuracy.paired_runs import make_scorers, measure_quality
from edgeq.conversion.calibration_pass import why_stock
from edgeq.conversion.file_metadata import joined_file
from edgeq.conversion.plan import require_budgets
from edgeq.conversion.prepare import (
    Prepared,
    open_outputs,
    prepare,
    versions,
    warn_of_int4,
    without_temporary_path,
)
from edgeq.conversion.proof import prove
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.quantization.resolve_scheme import resolve
from edgeq.converters.quantization.selectors import with_inner
from edgeq.device_runners.devices import runtimes
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.device_runners.devices.device import Device
from edgeq.errors import QuantizationError, UsageError, unknown_name
from edgeq.files import storage
from edgeq.files.reading import unchanged
from edgeq.issues import judge
from edgeq.progress import OnProgress
from edgeq.tuning.cluster import DaskCluster
from edgeq.tuning.content_store import Store
from edgeq.tuning.float_outputs import Recording, record
from edgeq.tuning.journal import Journal, journal_path
from edgeq.tuning.pool import Executor, LocalPool
from edgeq.tuning.recipe_files import Workshop
from edgeq.tuning.search import Search
from edgeq.tuning.selection import Choice
from edgeq.tuning.trial import mix_of
from edgeq.values import OBJECTIVES, DataRef, Quality, TfliteModel, Trial, TuneOptions, Tuning


def tune_model(
    model: Any,
    output: Path,
    *,
    data: Any,
    test_data: Any,
    preprocess: Sequence[str],
    options: TuneOptions,
    device: Device,
    verbose: bool,
    on_progress: OnProgress,
    tensorflow: TensorFlowProcess | None = None,
) -> Tuning:
    """Search; see `api.tune` for the arguments.

    Raises:
        GateError: no model meets the budget.
        EdgeqError: another of its kinds; the journal then has all trials so far.
    """
    _check(options)
    scheme, io = resolve("int8", options.convert.io, "channel")
    with ExitStack() as stack:
        target, record_path = open_outputs(stack, output, (model, data, test_data))
        stack.enter_context(unchanged(model))
        runtimes.choose_runtime(device, None)  # a missing device is reported before the work
        ready = prepare(
            stack, model, scheme, io, data=data, test_data=test_data, preprocess=preprocess,
            options=options.convert, verbose=verbose, on_progress=on_progress,
            tensorflow=tensorflow,
        )  # fmt: skip
        if (reason := why_stock(ready.job, ready.model)) is not None:
            raise UsageError(f"tune needs edgeq's own calibrator, which cannot be used: {reason}.")
        store = Store(ready.job.folder / "store")
        local = stack.enter_context(LocalPool(store, options.jobs))
        recording = record(ready, store, needs_labels=options.convert.max_drop_points is not None)
        on_progress("quantize", 0, None)
        workshop = Workshop(ready, store, recording)
        journal = Journal(journal_path(output), _identity(ready, options))
        stack.callback(journal.close)
        executor: Executor = local
        if options.cluster is not None:
            executor = stack.enter_context(DaskCluster(options.cluster, store))
        search = Search(
            workshop, executor, local, journal, options,
            lambda tried: on_progress("try", tried, None),
        )  # fmt: skip
        choice = Choice(search, Path(ready.model.file.path), store, device, on_progress)
        finished = _finish(ready, search, choice, choice.choose(), target, output)
        storage.write_record(record_path, "tune", finished)
        journal.remove()
    return finished


def _check(options: TuneOptions) -> None:
    """Refuse options without effect, before any work."""
    budget = options.convert
    if budget.max_drop_points is None and budget.min_sqnr_db is None:
        raise UsageError(
            "tune needs a budget.",
            hint="Pass --max-drop POINTS (labelled data), --min-sqnr DB, or both.",
        )
    require_budgets(budget)
    if options.objective not in OBJECTIVES:
        raise unknown_name("objective", options.objective, OBJECTIVES)


def _identity(ready: Prepared, options: TuneOptions) -> dict[str, Any]:
    """Return everything that the outcome of a recipe depends on, without the budget."""
    settings = replace(options.convert, max_drop_points=None, min_sqnr_db=None)
    plan = ready.plan
    return {
        "model": ready.model.file.sha256,
        "data": None if plan.samples is None else plan.samples.ref.sha256,
        "test_data": None if plan.test is None else plan.test.ref.sha256,
        "preprocessing": ready.preprocessing,
        "settings": storage.to_plain(settings),
        "versions": versions(ready.job.process),
    }


def _finish(
    ready: Prepared,
    search: Search,
    choice: Choice,
    chosen: Trial,
    target: Path,
    output: Path,
) -> Tuning:
    """Write the chosen file, and prove and measure it as `convert` does."""
    recipe, recording = chosen.recipe, search.workshop.recording
    _write(search, chosen, target)
    granularity = replace(search.options.convert, granularity=recipe.granularity)
    job = replace(ready.job, options=granularity)
    asked = mix_of(recipe, ready.job.wide, job.options.recurrent)
    mix = with_inner(search.workshop.source(recipe), asked)
    proof = prove(job, target, ready.model, mix, ready.issues)
    quality = _measure_quality(ready, target, recording)
    issues = [
        *ready.issues,
        *search.workshop.notes(recipe),
        *warn_of_int4(ready.model, recipe.int4),
        *search.journal.doubts(),
        *choice.doubts(chosen, quality, is_apart=recording.is_apart),
    ]
    if ready.plan.samples is not None:
        issues += ready.plan.samples.issues
    file, workshop = storage.refer(target, output.as_posix()), search.workshop
    ranges, seen = workshop.ranges(recipe), workshop.histograms(recipe)
    assert choice.facts is not None
    return Tuning(
        options=search.options,
        source=without_temporary_path(ready.model),
        data=_data_ref(ready),
        test_data=None if ready.plan.test is None else ready.plan.test.ref,
        model=TfliteModel(file, "int8", ready.job.io, recipe.granularity, ranges, histograms=seen),
        certificate=proof,
        quality=quality,
        trials=choice.table(chosen),
        layers=search.layers,
        search_samples=recording.search.count,
        is_confirmed=recording.is_apart,
        elapsed_s=search.elapsed_s,
        resumed_trials=search.resumed,
        facts=choice.facts,
        validity=judge(issues),
        issues=tuple(dict.fromkeys(issues)),
        versions=versions(ready.job.process),
        metric=recording.metric,
    )


def _write(search: Search, chosen: Trial, target: Path) -> None:
    workshop = search.workshop
    made = search.local.make(workshop.task(chosen.recipe, workshop.recording.search))
    if made != chosen.sha256 and search.options.cluster is None:
        raise QuantizationError(
            "The selected file could not be made a second time with the same bytes."
        )
    target.write_bytes(workshop.store.read(made))


def _measure_quality(ready: Prepared, target: Path, recording: Recording) -> Quality:
    pairs = (
        (sample.inputs, sample.label)
        for sample in recording.samples.iterate(recording.proof_indices)
    )
    source = joined_file(ready.model, ready.job.folder)
    is_held_out = ready.plan.test is None or ready.plan.is_held_out
    options, scorers = ready.job.options, None
    if ready.plan.has_task and (recording.samples.has_labels or options.metrics):
        scorers = make_scorers(options.metrics, ready.decoding, ready.model.inputs)
    return measure_quality(
        source, target, pairs, resolve_device("local"), is_held_out=is_held_out, scorers=scorers
    )


def _data_ref(ready: Prepared) -> DataRef:
    assert ready.plan.samples is not None
    return ready.plan.samples.ref
