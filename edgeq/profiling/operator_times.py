"""Time of each operator of a `.tflite`, on the machine that will run it."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeq.converters.graph.matching import pair_layers
from edgeq.converters.proof.certificate import certify
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.device_runners.devices.device import Device, events_as_progress, read_facts
from edgeq.device_runners.devices.runtimes import choose_runtime
from edgeq.device_runners.measuring import health
from edgeq.device_runners.on_board.agent.job import PROTOCOL
from edgeq.device_runners.on_board.agent.profiler import OLDEST
from edgeq.errors import DeviceError, UsageError
from edgeq.files import scratch, storage
from edgeq.files.reading import model_paths, needs_unchanged
from edgeq.issues import judge, make_issue
from edgeq.profiling.event_mapping import map_events
from edgeq.profiling.reasons import find_reasons
from edgeq.progress import OnProgress, quiet
from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import CONVERTING
from edgeq.values import (
    Issue,
    MemorySpeed,
    ModelProfile,
    OperatorReport,
    OperatorTime,
    Profile,
    RuntimeInfo,
    TypeTime,
)

QUANTIZED = frozenset({"int8", "int16x8", "dynamic", "weight-only"})

_RUNTIME = "ai-edge-litert"
_OLDEST = ".".join(map(str, OLDEST))
_INSTALL = f"Install it there with: pip install '{_RUNTIME}>={_OLDEST}'"
_LONGEST_S = 24 * 3600.0
_MOST_ADDED = 0.2  # of all operators' times

_CUT_MS = 0.0005  # a time cut to whole microseconds is half of one too short on average


@needs_unchanged("models")
def profile(
    models: str | Path | Sequence[str | Path],
    *,
    device: str = "local",
    python: str | Path | None = None,
    threads: int = 1,
    runs: int = 60,
    on_progress: OnProgress = quiet,
) -> Profile:
    """Measure the time of each operator of one `.tflite`, or of two side by side.

    The times are from LiteRT's own profiler. An operator's time is the mean of its times without
    the lowest and the highest tenth (trimmed mean), which short disturbances do not change. XNNPACK
    cuts its times to whole microseconds: half of one is added to each, or less if the measured
    latency leaves less room.

    Args:
        models: one, or two of the same network, such as INT8 and FP32 in either order.
        device: as for `bench`.
        python: interpreter that runs the agent, this one by default.
        runs: inferences to measure of each model, alternating between them.

    Raises:
        UsageError: more than two models, or a number of runs or threads below 1.
        SourceError: a file is not a `.tflite`.
        DataError: two different networks.
        DeviceError: no LiteRT of release 2.3 or newer there, or a model cannot be run.
    """
    paths = model_paths(models)
    if not 1 <= len(paths) <= 2:
        raise UsageError(f"profile takes one model or two, not {len(paths)}.")
    if runs < 1 or threads < 1:
        raise UsageError(f"profile needs at least 1 run and 1 thread, not {runs} and {threads}.")
    reports = {path: certify(path).operators for path in paths}
    if len(paths) == 2 and not _is_quantized(reports[paths[0]]):
        paths.reverse()
    trees = [flatbuffer.read(path) for path in paths]
    pairs: tuple[tuple[int, int], ...] = ()
    if len(paths) == 2:
        pairs = tuple(sorted(pair_layers(*trees).items()))
    target = resolve_device(device, python=None if python is None else Path(python))
    result = _run(paths, target, threads, runs, on_progress)
    found = tuple(
        _read_model(path, tree, reports[path], _require(path, target, plain))
        for path, tree, plain in zip(paths, trees, result["models"], strict=True)
    )
    facts = read_facts(target.name, result["facts"])
    facts = replace(facts, emulator=facts.emulator or target.facts().emulator)
    # The best of all processes: other work can only have slowed it.
    speeds = [turn["memory"] for model in result["models"] for turn in model["turns"]]
    best = max(speeds, key=lambda memory: float(memory["bytes_per_s"]))
    memory = MemorySpeed(best["bytes_per_s"], best["cache_bytes"])
    unreal = health.emulated_issue(facts.emulator)
    issues: tuple[Issue, ...] = () if unreal is None else (unreal,)
    for model in found:
        cut = sum(op.is_delegated or False for op in (*model.operators, *model.unmapped))
        added_ms = cut * model.resolution_ms
        if added_ms >= _MOST_ADDED * model.operators_ms:
            message = (
                f"XNNPACK reports whole microseconds: {added_ms:.4f} of the "
                f"{model.operators_ms:.4f} ms of {model.model.path} are its estimated loss, so "
                "the times of single operators are rough."
            )
            issues += (make_issue("profile.too_short", message),)
    is_mixed = len(paths) == 2 and not _is_quantized(reports[paths[1]])
    baseline = found[1] if is_mixed else None
    return Profile(
        facts=facts,
        threads=threads,
        memory=memory,
        models=found,
        pairs=pairs,
        reasons=() if unreal else find_reasons(found[0], baseline, pairs, memory),
        validity=judge(issues),
        issues=issues,
    )


def _is_quantized(operators: Sequence[OperatorReport]) -> bool:
    return any(operator.precision in QUANTIZED for operator in operators)


def _run(
    paths: Sequence[Path], device: Device, threads: int, runs: int, on_progress: OnProgress
) -> dict[str, Any]:
    """The agent's result.

    Raises:
        DeviceError: no LiteRT there whose C API reports the time of each operator.
    """
    chosen = choose_runtime(device, _RUNTIME, events_as_progress(on_progress))
    release = flatbuffer.release(chosen.version)
    if release and release < OLDEST:
        raise DeviceError(
            f"{_RUNTIME} {chosen.version} on {device.name} does not report the time of each "
            f"operator; {_OLDEST} does.",
            hint=_INSTALL,
        )
    names = [f"model-{number}.tflite" for number in range(len(paths))]
    files = dict(zip(names, paths, strict=True))
    job = {
        "protocol": PROTOCOL,
        "task": "profile",
        "runtime": _RUNTIME,
        "threads": threads,
        "runs": runs,
        "models": names,
    }

    def show(event: dict[str, Any]) -> None:
        if event.get("event") == "progress":
            on_progress(event["step"], event["done"], event.get("total"))

    with scratch.folder() as folder:
        return device.run(job, files, folder, on_event=show, deadline_s=_LONGEST_S)


def _require(path: Path, device: Device, plain: dict[str, Any]) -> dict[str, Any]:
    """A model's result; an error in it is raised."""
    if "error" not in plain:
        return plain
    error = plain["error"]
    hints = {
        "bad_model": "Check with edgeq bench whether the model runs there at all.",
        "crashed": "Check with edgeq bench whether the model runs there at all.",
        "runtime_missing": _INSTALL,
        "runtime_too_old": _INSTALL,
        "no_linux": "Profile on a board or a phone: --device pi@raspberrypi.local",
    }
    told = re.findall(r"^ERROR: (?:\[[^\]]*\] )?(.+)", error["details"] or "", re.MULTILINE)
    reason = f" ({told[-1].rstrip('.')})" if told else ""
    raise DeviceError(
        f"{path} cannot be profiled on {device.name}: {error['message']}{reason}.",
        hint=hints.get(error["code"]),
        details=error["details"] or None,
    )


# ---------------------------------------------------------------- one model


def _read_model(
    path: Path, tree: Any, reports: Sequence[OperatorReport], plain: Mapping[str, Any]
) -> ModelProfile:
    """The runtime's events as times of the file's operators."""
    turns = plain["turns"]
    latency_ms = statistics.median(ns for turn in turns for ns in turn["latency_ns"]) / 1e6
    # Work of other subgraphs is inside the time of the operator that runs them.
    events = [event for event in _merge(turns) if event["subgraph"] == 0]
    times = [_trimmed_mean(event["durations_us"]) / 1000 for event in events]
    is_delegated = [event["kind"] == "delegate" for event in events]
    room_ms = (latency_ms - sum(times)) / max(1, sum(is_delegated))
    added_ms = min(_CUT_MS, max(0.0, room_ms))
    times = [time + added_ms * cut for time, cut in zip(times, is_delegated, strict=True)]
    timed = list(zip(events, times, map_events(tree, events), strict=True))
    total = sum(times)
    is_quantized = _is_quantized(reports)
    graph = tree.subgraphs[0]
    operators = []
    for report, operator in zip(reports, graph.operators, strict=False):  # other subgraphs follow
        own = [(event, time) for event, time, index in timed if index == report.index]
        constants = [
            tree.buffers[graph.tensors[i].buffer].data
            for i in flatbuffer.indices(operator.inputs)
            if i >= 0
        ]
        time = sum(time for _, time in own)
        operators.append(
            OperatorTime(
                index=report.index,
                name=report.output,
                operator=report.name,
                precision=report.precision,
                kernels=tuple(event["name"] for event, _ in own),
                is_delegated=any(e["kind"] == "delegate" for e, _ in own) if own else None,
                time_ms=time if own else None,
                share=time / total,
                is_island=is_quantized and report.precision == "float32",
                constant_bytes=sum(len(data) for data in constants if data is not None),
            )
        )
    unmapped = tuple(
        OperatorTime(None, event["name"], event["name"], "", (event["name"],), True, time,
                     time / total, False, 0)
        for event, time, index in timed
        if index is None
    )  # fmt: skip
    return ModelProfile(
        model=storage.refer(path),
        runtime=RuntimeInfo(plain["runtime"]["name"], plain["runtime"]["version"]),
        runs=sum(len(turn["latency_ns"]) for turn in turns),
        latency_ms=latency_ms,
        operators_ms=total,
        resolution_ms=added_ms,
        operators=tuple(operators),
        unmapped=unmapped,
        types=_by_type(operators, total),
        conversion_ms=_sum(op for op in operators if op.operator in CONVERTING),
        island_ms=_sum(op for op in operators if op.is_island),
    )


def _merge(turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each event with its durations of all turns.

    Raises:
        DeviceError: the runtime worked differently from turn to turn.
    """
    merged: list[dict[str, Any]] = [dict(event, durations_us=[]) for event in turns[0]["events"]]
    for turn in turns:
        if [event["name"] for event in turn["events"]] != [event["name"] for event in merged]:
            raise DeviceError(
                "The operators differ between two profiling runs of the same model.",
                hint="Run the command again.",
            )
        for event, own in zip(merged, turn["events"], strict=True):
            event["durations_us"] += own["durations_us"]
    return merged


def _trimmed_mean(durations: Sequence[int]) -> float:
    """Finer than the median of whole numbers, and insensitive to outliers."""
    ordered = sorted(durations)
    tenth = len(ordered) // 10
    return statistics.fmean(ordered[tenth : len(ordered) - tenth])


def _sum(operators: Iterable[OperatorTime]) -> float:
    return float(sum(operator.time_ms or 0.0 for operator in operators))


def _by_type(operators: Sequence[OperatorTime], total: float) -> tuple[TypeTime, ...]:
    groups: dict[str, list[OperatorTime]] = {}
    for operator in operators:
        if operator.time_ms is not None:
            groups.setdefault(operator.operator, []).append(operator)
    found = [
        TypeTime(name, len(group), _sum(group), _sum(group) / total)
        for name, group in groups.items()
    ]
    return tuple(sorted(found, key=lambda item: -item.time_ms))
