"""The figures of a record: a pure function of it, made once when it is added."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

from edgeq import timing
from edgeq.accuracy.metrics import ACCURACY
from edgeq.accuracy.verdict import device_of, measuring_conditions, worst_sqnr_db
from edgeq.comparison.parity import ParityRow
from edgeq.device_runners.devices.cores import show_cores
from edgeq.devices.fleet import FleetEntry
from edgeq.history.values import Condition, Figure, Summary
from edgeq.issues import judge
from edgeq.records.parts import split
from edgeq.records.reading import Record
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
    Ratio,
    Tuning,
)

_ON_A_DEVICE = (DeviceFacts, FleetEntry, ParityRow, Evaluation, Comparison)
_WORST_FIRST = ("invalid", "degraded", "valid")


def figures_of(record: Record) -> tuple[Figure, ...]:
    """Every figure of a record that can be followed, in the order the record has them."""
    return tuple(
        figure
        for part in split([record])
        if part.value is not None and part.kind in _READERS
        for figure in _READERS[part.kind](part.value, part.device)
    )


def summarize(record: Record) -> Summary:
    """What a history keeps of a record in columns."""
    figures = figures_of(record)
    named = _walk(record.value)
    model = _main_model(record, named.models)
    devices = tuple(dict.fromkeys(named.devices))
    return Summary(
        model=None if model is None else (model.path, model.sha256),
        device=devices[0] if devices else None,
        models=tuple(dict.fromkeys((item.path, item.sha256) for item in named.models)),
        devices=devices,
        figures=figures,
    )


# ---------------------------------------------------------------- models and devices


@dataclasses.dataclass
class _Named:
    """Collected by `_walk`."""

    models: list[FileRef]
    devices: list[str]


def _walk(value: Any) -> _Named:
    """Every model file and device that a value names, in the order of its fields."""
    found, pending = _Named([], []), [value]
    while pending:
        item = pending.pop()
        if isinstance(item, FileRef):
            if not item.path.startswith("("):  # in memory only, such as a lowered model
                found.models.append(item)
        elif isinstance(item, GateResult):
            pending += [item.baseline, item.candidate]  # its policy is a file, and no model
        elif dataclasses.is_dataclass(item) and not isinstance(item, type):
            if isinstance(item, _ON_A_DEVICE) and item.device is not None:
                found.devices.append(item.device)
            pending += [getattr(item, part.name) for part in reversed(dataclasses.fields(item))]
        elif isinstance(item, tuple) and item and not isinstance(item[0], (int, float, str)):
            pending += reversed(item)
    return found


def _main_model(record: Record, models: list[FileRef]) -> FileRef | None:
    """The model that a record is about: the exported one, the candidate, the last of several.

    Of those that eval has measured, none is held against another, so it is the first.
    """
    value = record.value
    if isinstance(value, (Conversion, Tuning)):
        return value.model.file
    if isinstance(value, Profile):
        return value.models[0].model  # the quantized one
    if isinstance(value, GateResult):
        return value.candidate
    if not models:
        return None
    return models[0 if record.kind.endswith("eval") else -1]


# ---------------------------------------------------------------- figures, kind by kind


def _of_conversion(value: Conversion, device: str | None) -> Iterator[Figure]:
    yield from _of_export(value)
    if value.quality is not None:
        yield from _of_quality(
            value.quality,
            (value.source.source, value.model.file),
            device,
            judge(value.issues),
            _sample_conditions(value.test_data or value.data, value.quality, _held_out(value)),
        )


def _held_out(value: Conversion | Tuning) -> str:
    """Which samples of the data set a quality is of."""
    if value.quality is None or value.test_data is not None:
        return ""
    return " held out" if value.quality.is_held_out else " that calibrated"


def _of_export(value: Conversion | Tuning) -> Iterator[Figure]:
    """Sizes: of the float model as a .tflite, under its source's name, and of the exported file."""
    source = value.source.source
    sizes = (("baseline", source, value.source.file), ("model", value.model.file, value.model.file))
    for role, model, file in sizes:
        yield _figure("size", role, model, None, file.size_bytes)


def _of_tuning(value: Tuning, device: str | None) -> Iterator[Figure]:
    yield from _of_export(value)
    yield from _of_quality(
        value.quality,
        (value.source.source, value.model.file),
        value.facts.device,
        judge(value.issues),
        _sample_conditions(value.test_data or value.data, value.quality, _held_out(value)),
    )
    chosen, facts = value.trials[0], value.facts
    conditions = _as_conditions(
        {"device": facts.device, "processor": facts.processor, "run": "in tune"}
    )
    file, validity = value.model.file, value.validity
    if chosen.latency_ms is not None:
        yield _figure("p50", "model", file, facts.device, chosen.latency_ms, None, validity,
                      conditions)  # fmt: skip
    if chosen.speedup is not None:
        yield _speedup(file, facts.device, chosen.speedup, validity, conditions)


def _of_bench(value: BenchResult, device: str | None) -> Iterator[Figure]:
    for run in value.runs:
        yield _figure("size", _role(value, run), run.model, None, run.model.size_bytes)
    yield from _of_latency(value, device)


def _role(value: BenchResult, run: BenchRun) -> str:
    return "baseline" if len(value.runs) > 1 and run is value.runs[0] else "model"


def _of_latency(value: BenchResult, device: str | None) -> Iterator[Figure]:
    name = device or value.facts.device
    for run in value.runs:
        conditions = _run_conditions(value.facts, run)
        role, shared = _role(value, run), (run.validity, conditions)
        known = {"p50": timing.p50_interval(run), "p90": timing.p90_interval(run)}
        for metric, found in known.items():
            if found is not None:
                yield _figure(metric, role, run.model, name, found.value, (found.low, found.high),
                              *shared)  # fmt: skip
        if run.peak_rss_bytes is not None:
            yield _figure("peak-memory", role, run.model, name, run.peak_rss_bytes, None, *shared)
    for place, run in enumerate(value.runs[1 : 1 + len(value.speedups)]):
        ratio = timing.speedup_interval(value, place)
        validity = _worst(value.runs[0].validity, run.validity)
        yield _speedup(run.model, name, ratio, validity, _run_conditions(value.facts, run))


def _run_conditions(facts: DeviceFacts, run: BenchRun) -> tuple[Condition, ...]:
    found = measuring_conditions(facts, run)
    if run.cores:
        found["cores"] = show_cores(run.cores)
    return _as_conditions(found)


def _of_evaluations(value: tuple[Evaluation, ...], device: str | None) -> Iterator[Figure]:
    for item in value:
        yield _figure("size", "model", item.model, None, item.model.size_bytes)
        for number, metric in enumerate(item.metrics):
            if metric.name != ACCURACY or metric.unit != "percent":
                continue  # other metrics have other meanings
            interval = None if item.interval is None or number else item.interval
            name = device or item.device
            conditions = (
                *_data_conditions(item.data, str(item.sample_count)), *_device_condition(name)
            )  # fmt: skip
            yield _figure(
                "accuracy", "model", item.model, name, metric.value,
                None if interval is None else (interval.low, interval.high),
                judge(item.issues), conditions,
            )  # fmt: skip


def _of_comparison(value: Comparison, device: str | None) -> Iterator[Figure]:
    for role, file in (("baseline", value.baseline), ("model", value.candidate)):
        yield _figure("size", role, file, None, file.size_bytes)
    name = device or device_of(value)
    conditions = (
        *_data_conditions(value.data, str(value.quality.sample_count)), *_device_condition(name)
    )  # fmt: skip
    yield from _of_quality(
        value.quality, (value.baseline, value.candidate), name, judge(value.issues), conditions
    )
    if value.bench is not None:
        yield from _of_latency(value.bench, device)


def _of_debug(value: DebugReport, device: str | None) -> Iterator[Figure]:
    for role, file in (("baseline", value.baseline), ("model", value.candidate)):
        yield _figure("size", role, file, None, file.size_bytes)
    conditions = _data_conditions(value.data, str(value.sample_count))
    yield from _of_quality(
        value.quality, (value.baseline, value.candidate), device, judge(value.issues), conditions
    )


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
        yield _figure("p50", role, item.model, facts.device, item.latency_ms, None,
                      value.validity, conditions)  # fmt: skip


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
    quality: Quality,
    models: tuple[FileRef, FileRef],
    device: str | None,
    validity: str,
    conditions: tuple[Condition, ...],
) -> Iterator[Figure]:
    baseline, model = models
    shared = (validity, conditions)
    drop = quality.drop_points
    if drop is not None:
        yield _figure("accuracy-drop", "model", model, device, drop.value, (drop.low, drop.high),
                      *shared)  # fmt: skip
    for role, file, accuracy in (
        ("baseline", baseline, quality.baseline_accuracy_percent),
        ("model", model, quality.candidate_accuracy_percent),
    ):
        if accuracy is not None:
            yield _figure("accuracy", role, file, device, accuracy, None, *shared)
    sqnr = worst_sqnr_db(quality)
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
    conditions: tuple[Condition, ...] = (),
) -> Figure:
    low, high = interval or (None, None)
    return Figure(
        metric, role, model.path, model.sha256, device, float(value), low, high, validity,
        conditions,
    )  # fmt: skip


def _speedup(
    model: FileRef,
    device: str,
    ratio: Ratio,
    validity: str,
    conditions: tuple[Condition, ...],
) -> Figure:
    return _figure(
        "speed-up", "model", model, device, ratio.value, (ratio.low, ratio.high), validity,
        conditions,
    )  # fmt: skip


def _worst(*validities: str) -> str:
    return min(validities, key=_WORST_FIRST.index)


def _as_conditions(named: dict[str, str]) -> tuple[Condition, ...]:
    return tuple(Condition(name, text, text) for name, text in named.items())


def _sample_conditions(
    data: DataRef | None, quality: Quality, suffix: str
) -> tuple[Condition, ...]:
    return () if data is None else _data_conditions(data, f"{quality.sample_count}{suffix}")


def _data_conditions(data: DataRef, samples: str) -> tuple[Condition, ...]:
    """The data set, by its digest, how many of its samples, and how they were fed."""
    source = f"{data.source.rsplit('/', 1)[-1]} ({data.sha256[:8]})"
    found = [Condition("data", data.sha256, source), Condition("samples", samples, samples)]
    if data.preprocessing:
        fed = "; ".join(map(_show_preprocessing, data.preprocessing))
        found.append(Condition("preprocessing", fed, fed))
    return tuple(found)


def _device_condition(device: str | None) -> tuple[Condition, ...]:
    """Where the samples ran.

    The processor is none: the same kernels give the same integers on every one, and the machines
    of a CI service differ from run to run.
    """
    return () if device is None else (Condition("device", device, device),)


def _show_preprocessing(item: Preprocessing) -> str:
    """What is not the default, in the fields' own names."""
    plain = Preprocessing()
    named = {part.name: getattr(item, part.name) for part in dataclasses.fields(item)}
    shown = [f"{name}={_show(value)}" for name, value in named.items()
             if value != getattr(plain, name)]  # fmt: skip
    return " ".join(shown) or "none"


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_show, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
