"""The figures of a record: a pure function of it, made once when it is added."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

from edgeq import timing
from edgeq.accuracy.verdict import device_of, measuring_conditions, worst_sqnr_db
from edgeq.comparison.parity import ParityRow
from edgeq.device_runners.devices.cores import show_cores
from edgeq.devices.fleet import FleetEntry
from edgeq.history.values import Condition, Figure, Summary
from edgeq.issues import judge
from edgeq.metrics.catalogue import ACCURACY
from edgeq.records.parts import split
from edgeq.records.reading import Record, walk
from edgeq.values import (
    BenchResult,
    BenchRun,
    Comparison,
    Conversion,
    DataRef,
    DebugReport,
    DeviceFacts,
    Evaluation,
    FileRef,
    GateResult,
    Preprocessing,
    Profile,
    Quality,
    Tuning,
)
from edgeq.wording import file_name

_ON_A_DEVICE = (DeviceFacts, FleetEntry, ParityRow, Evaluation, Comparison)
_WORST_FIRST = ("invalid", "degraded", "valid")

Conditions = tuple[Condition, ...]


def figures_of(record: Record) -> tuple[Figure, ...]:
    """Every figure of a record that can be followed, in the order the record has them."""
    return tuple(
        figure
        for part in split([record])
        if part.value is not None and part.kind in _READERS
        for figure in _READERS[part.kind](part.value, part.device)
    )


def summarize(record: Record) -> Summary:
    """The columns that a history keeps of a record."""
    value = record.value
    if isinstance(value, GateResult):  # its policy is a file, too, but not a model
        models = [file for file in (value.baseline, value.candidate) if file is not None]
        devices = []
    else:
        items = list(walk(value))
        files = [item for item in items if isinstance(item, FileRef)]
        models = [file for file in files if not file.path.startswith("(")]  # not only in memory
        found = [item.device for item in items if isinstance(item, _ON_A_DEVICE)]
        devices = [device for device in dict.fromkeys(found) if device is not None]
    model = _main_model(record, models)
    return Summary(
        model=None if model is None else (model.path, model.sha256),
        device=devices[0] if devices else None,
        models=tuple(dict.fromkeys((item.path, item.sha256) for item in models)),
        devices=tuple(devices),
        figures=figures_of(record),
    )


def _main_model(record: Record, models: list[FileRef]) -> FileRef | None:
    """The model that a record is about: the exported one, the candidate, the last of several.

    The models that eval has measured have no baseline among them, so it is the first.
    """
    value = record.value
    if isinstance(value, (Conversion, Tuning)):
        return value.model.file
    if isinstance(value, Profile):
        return value.models[0].model  # the quantized one
    if not models:
        return None
    return models[0 if record.kind.endswith("eval") else -1]


# ---------------------------------------------------------------- figures, kind by kind


def _of_conversion(value: Conversion | Tuning, device: str | None) -> Iterator[Figure]:
    """Sizes: of the float model as a .tflite, under its source's name, and of the exported file."""
    source, file, quality = value.source.source, value.model.file, value.quality
    yield _figure("size", "baseline", source, None, value.source.file.size_bytes)
    yield _figure("size", "model", file, None, file.size_bytes)
    if quality is None:
        return
    data, suffix = value.test_data or value.data, ""
    if value.test_data is None:
        suffix = " held out" if quality.is_held_out else " that calibrated"
    conditions: Conditions = ()
    if data is not None:
        conditions = _data_conditions(data, f"{quality.sample_count}{suffix}", None)
    yield from _of_quality(quality, source, file, device, judge(value.issues), conditions)


def _of_tuning(value: Tuning, device: str | None) -> Iterator[Figure]:
    chosen, facts, file = value.trials[0], value.facts, value.model.file
    yield from _of_conversion(value, facts.device)
    conditions = _as_conditions(
        {"device": facts.device, "processor": facts.processor, "run": "in tune"}
    )
    where = ("model", file, facts.device)
    if chosen.latency_ms is not None:
        yield _figure("p50", *where, chosen.latency_ms, None, value.validity, conditions)
    if chosen.speedup is not None:
        ratio = chosen.speedup
        ends = (ratio.low, ratio.high)
        yield _figure("speed-up", *where, ratio.value, ends, value.validity, conditions)


def _of_bench(value: BenchResult, device: str | None) -> Iterator[Figure]:
    for run in value.runs:
        yield _figure("size", _role(value, run), run.model, None, run.model.size_bytes)
    yield from _of_latency(value, device)


def _role(value: BenchResult, run: BenchRun) -> str:
    return "baseline" if len(value.runs) > 1 and run is value.runs[0] else "model"


def _of_latency(value: BenchResult, device: str | None) -> Iterator[Figure]:
    name = device or value.facts.device
    shared = []
    for run in value.runs:
        conditions = measuring_conditions(value.facts, run)
        if run.cores:
            conditions["cores"] = show_cores(run.cores)
        shared.append(_as_conditions(conditions))
        where, rest = (_role(value, run), run.model, name), (run.validity, shared[-1])
        for metric, found in (("p50", timing.p50_interval(run)), ("p90", timing.p90_interval(run))):
            if found is not None:
                yield _figure(metric, *where, found.value, (found.low, found.high), *rest)
        if run.peak_rss_bytes is not None:
            yield _figure("peak-memory", *where, run.peak_rss_bytes, None, *rest)
    for place, run in enumerate(value.runs[1 : 1 + len(value.speedups)]):
        ratio = timing.speedup_interval(value, place)
        validity = min(value.runs[0].validity, run.validity, key=_WORST_FIRST.index)
        yield _figure(
            "speed-up", "model", run.model, name, ratio.value, (ratio.low, ratio.high), validity,
            shared[place + 1],
        )  # fmt: skip


def _of_evaluations(value: tuple[Evaluation, ...], device: str | None) -> Iterator[Figure]:
    for item in value:
        yield _figure("size", "model", item.model, None, item.model.size_bytes)
        name = device or item.device
        conditions = _data_conditions(item.data, str(item.sample_count), name)
        for number, metric in enumerate(item.metrics):
            if metric.name == ACCURACY and metric.unit == "percent":
                interval = None if number else item.interval
                yield _figure(
                    "accuracy", "model", item.model, name, metric.value,
                    None if interval is None else (interval.low, interval.high),
                    judge(item.issues), conditions,
                )  # fmt: skip


def _of_comparison(value: Comparison, device: str | None) -> Iterator[Figure]:
    yield from _of_pair(value, value.quality.sample_count, device or device_of(value))
    if value.bench is not None:
        yield from _of_latency(value.bench, device)


def _of_debug(value: DebugReport, device: str | None) -> Iterator[Figure]:
    yield from _of_pair(value, value.sample_count, device)


def _of_pair(value: Comparison | DebugReport, samples: int, device: str | None) -> Iterator[Figure]:
    for role, file in (("baseline", value.baseline), ("model", value.candidate)):
        yield _figure("size", role, file, None, file.size_bytes)
    conditions = _data_conditions(value.data, str(samples), device)
    models = (value.baseline, value.candidate)
    yield from _of_quality(value.quality, *models, device, judge(value.issues), conditions)


def _of_profile(value: Profile, device: str | None) -> Iterator[Figure]:
    facts = value.facts
    for number, item in enumerate(value.models):
        role = "baseline" if number else "model"
        conditions = _as_conditions(
            {
                "device": facts.device,
                "processor": facts.processor,
                "runtime": f"{item.runtime.name} {item.runtime.version}",
                "threads": str(value.threads),
                "run": "in profile",
            }
        )
        yield _figure("size", role, item.model, None, item.model.size_bytes)
        where = ("p50", role, item.model, facts.device)
        yield _figure(*where, item.latency_ms, None, value.validity, conditions)


_READERS: dict[str, Callable[[Any, str | None], Iterator[Figure]]] = {
    "convert": _of_conversion,
    "tune": _of_tuning,
    "bench": _of_bench,
    "eval": _of_evaluations,
    "compare": _of_comparison,
    "debug": _of_debug,
    "profile": _of_profile,
}


# ---------------------------------------------------------------- pieces


def _of_quality(
    quality: Quality, baseline: FileRef, model: FileRef, device: str | None, validity: str,
    conditions: Conditions,
) -> Iterator[Figure]:  # fmt: skip
    shared, drop, sqnr = (validity, conditions), quality.drop_points, worst_sqnr_db(quality)
    if drop is not None:
        ends = (drop.low, drop.high)
        yield _figure("accuracy-drop", "model", model, device, drop.value, ends, *shared)
    for role, file, accuracy in (
        ("baseline", baseline, quality.baseline_accuracy_percent),
        ("model", model, quality.candidate_accuracy_percent),
    ):
        if accuracy is not None:
            yield _figure("accuracy", role, file, device, accuracy, None, *shared)
    if not math.isnan(sqnr):
        yield _figure("sqnr", "model", model, device, sqnr, None, *shared)


def _figure(
    metric: str,
    role: str,
    model: FileRef,
    device: str | None,
    value: float,
    interval: tuple[float | None, float | None] | None = None,
    validity: str = "valid",
    conditions: Conditions = (),
) -> Figure:
    low, high = interval or (None, None)
    return Figure(
        metric, role, model.path, model.sha256, device, float(value), low, high, validity,
        conditions,
    )  # fmt: skip


def _as_conditions(named: dict[str, str]) -> Conditions:
    return tuple(Condition(name, text, text) for name, text in named.items())


def _data_conditions(data: DataRef, samples: str, device: str | None) -> Conditions:
    """The data set, by its digest, how many of its samples, how they were fed, and the device.

    The processor is left out: the same kernels give the same integers on every one, and the
    machines of a CI service differ from run to run.
    """
    source = f"{file_name(data.source)} ({data.sha256[:8]})"
    named = {"samples": samples}
    if data.preprocessing:
        named["preprocessing"] = "; ".join(map(_show_preprocessing, data.preprocessing))
    if device is not None:
        named["device"] = device
    return (Condition("data", data.sha256, source), *_as_conditions(named))


def _show_preprocessing(item: Preprocessing) -> str:
    """The options that are not the default, in the fields' own names."""

    def show(value: Any) -> str:
        if isinstance(value, tuple):
            return ",".join(map(show, value))
        return f"{value:.6g}" if isinstance(value, float) else str(value)

    plain = Preprocessing()
    named = {part.name: getattr(item, part.name) for part in dataclasses.fields(item)}
    shown = [f"{name}={show(value)}" for name, value in named.items()
             if value != getattr(plain, name)]  # fmt: skip
    return " ".join(shown) or "none"
