"""Push, run, parse, pull: written once for all devices."""

from __future__ import annotations

import itertools
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq import timing
from edgeq.device_runners.devices.cores import choose_cores
from edgeq.device_runners.devices.device import Device, OnEvent, read_facts
from edgeq.device_runners.devices.runtimes import choose_runtime
from edgeq.device_runners.measuring import health
from edgeq.device_runners.measuring.resume_journal import BatchJournal
from edgeq.device_runners.measuring.sustained import read_sustained, window_length
from edgeq.device_runners.on_board.agent.job import PROTOCOL
from edgeq.errors import DataError, DeviceError, UsageError
from edgeq.files import npy, scratch, storage
from edgeq.files.reading import open_file
from edgeq.issues import judge
from edgeq.tflite.model_file import ModelFile, read_model
from edgeq.values import (
    BenchOptions,
    BenchResult,
    BenchRun,
    DeviceFacts,
    Energy,
    FileRef,
    MachineLook,
    Round,
    RuntimeInfo,
)

Arrays = Mapping[str, NDArray[Any]]

# An odd number of rounds whose interval leaves out one slow process on either side.
DEFAULT_ROUNDS = 9
# What a bench takes beside the agent's work, of which as much again may go into rounds.
_LOCAL_S, _BOARD_S = 0.5, 4.0
_LONGEST_S = 24 * 3600.0  # a forgotten run ends some day
_MOST_BYTES = 512 << 20  # of inputs on disk at a time; temporary folders may be memory
_BATCH_BYTES = 8 << 20  # sent to a board at a time, and lost when a run is interrupted


# ---------------------------------------------------------------- bench


def bench(
    models: Sequence[Path],
    device: Device,
    options: BenchOptions,
    inputs: Mapping[str, Arrays] | None = None,
    on_event: OnEvent | None = None,
    shown_as: Mapping[Path, str] | None = None,
) -> BenchResult:
    """Measure models in turns.

    Args:
        models: the first is what the others' speed-up refers to.
        inputs: model path to input name to the exact input tensor; random values by default.
        shown_as: how a temporary file is called in the result.

    Raises:
        DeviceError: a model cannot be loaded or run there.
        SourceError: a file is no `.tflite`.
        UsageError: options that contradict each other, or cores that are not there.
    """
    runtime = choose_runtime(device, options.runtime, on_event, models)
    settings = _settings(models, device, options)
    with scratch.folder() as folder:
        files, entries = {}, []
        for number, model in enumerate(models):
            files[f"model-{number}.tflite"] = model
            given = (inputs or {}).get(str(model), {})
            fed = _write_arrays(folder, f"model-{number}", given)
            entries.append({"path": f"model-{number}.tflite", "inputs": fed})
        job = {
            "protocol": PROTOCOL,
            "task": "bench",
            "runtime": runtime.name,
            **settings,
            "models": entries,
        }
        result = device.run(job, files, folder, on_event=on_event, deadline_s=_LONGEST_S)
    return _read_bench(models, device, options, result, shown_as or {})


def _settings(models: Sequence[Path], device: Device, options: BenchOptions) -> dict[str, Any]:
    """How to measure, as the agent wants it told.

    Raises:
        UsageError: see `bench`.
    """
    settings: dict[str, Any] = {
        "threads": options.threads,
        "cores": choose_cores(device.facts(), options.cores, options.threads),
        "runs": options.runs,
        "min_time_s": options.min_time_s,
        "max_time_s": options.max_time_s,
        "rounds": _rounds(options),
        # Seconds that a bench takes beside the agent; with so many rounds asked for, all are made.
        "spare_s": None,
    }
    if options.rounds is None:
        settings["spare_s"] = _BOARD_S if device.is_remote else _LOCAL_S
    if options.sustained_s is None:
        return settings
    if len(models) > 1:
        raise UsageError(
            f"--sustained measures one model at a time, so that the heat is its own; {len(models)} "
            "were given."
        )
    if options.runs is not None:
        raise UsageError(f"--sustained runs for a time, --runs {options.runs} for a number.")
    if options.rounds is not None:
        raise UsageError(
            f"--sustained runs in one process, --rounds {options.rounds} asks for several."
        )
    if not 0 < options.sustained_s <= _LONGEST_S / 2 or options.window_s <= 0:
        raise UsageError(f"--sustained {options.sustained_s / 60:g} is no time up to 720 minutes.")
    own = {"sustained_s": options.sustained_s, "window_s": window_length(options), "rounds": 1}
    return {**settings, **own}


def _rounds(options: BenchOptions) -> int:
    """At most: each has a run of its own."""
    wanted = options.rounds or DEFAULT_ROUNDS
    return wanted if options.runs is None else min(wanted, options.runs)


def _read_bench(
    models: Sequence[Path],
    device: Device,
    options: BenchOptions,
    result: dict[str, Any],
    shown_as: Mapping[Path, str],
) -> BenchResult:
    facts = read_facts(device.name, result["facts"])
    # Whoever made the device may know of an emulation that its inside does not show.
    facts = replace(facts, emulator=facts.emulator or device.facts().emulator)
    runs = []
    for model, plain in zip(models, result["models"], strict=True):
        if "error" in plain:
            raise _explain(model, device, plain["error"])
        file = storage.refer(model, shown_as.get(model))
        runs.append(_read_run(file, facts, options, plain, result["health"]))
    first, is_sound = (
        timing.medians_of_rounds(runs[0]),
        all(run.validity != "invalid" for run in runs),
    )
    ratios = [
        timing.ratio_of_rounds(first, timing.medians_of_rounds(run)) for run in runs[1:] if is_sound
    ]
    return BenchResult(
        facts=facts,
        options=options,
        runs=tuple(runs),
        speedups=tuple(ratios),
        looks=read_looks(result["health"]),
    )


def read_looks(looks: Sequence[health.Look]) -> tuple[MachineLook, ...]:
    """Looks at the machine as values."""
    return tuple(
        MachineLook(
            elapsed_s=look["time_s"] - looks[0]["time_s"],
            clock_mhz=look["clock_mhz"],
            temperature_celsius=look["temperature_celsius"],
            throttling=None if look["throttling"] is None else tuple(look["throttling"]),
        )
        for look in looks
    )


def _read_run(
    file: FileRef,
    facts: DeviceFacts,
    options: BenchOptions,
    plain: Mapping[str, Any],
    looks: Sequence[health.Look],
) -> BenchRun:
    times = tuple(tuple(time / 1e6 for time in times) for times in plain["rounds_ns"])
    is_burst = options.sustained_s is None
    processes = times if is_burst else (tuple(itertools.chain.from_iterable(times)),)
    latency = timing.summarize(processes)
    run = BenchRun(
        model=file,
        runtime=RuntimeInfo(plain["runtime"]["name"], plain["runtime"]["version"]),
        threads=options.threads,
        init_ms=statistics.median(start["init_ms"] for start in plain["starts"]),
        first_ms=statistics.median(start["first_ms"] for start in plain["starts"]),
        warmup_ms=tuple(time / 1e6 for time in plain["warmup_ns"]),
        latencies_ms=times,
        latency=latency,
        peak_rss_bytes=plain["peak_rss_bytes"],
        arena_bytes=plain["arena_bytes"],
        load_average=looks[0]["load_average"],
        validity="valid",
        issues=(),
        cores=choose_cores(facts, options.cores, options.threads),
        energy=_read_energy(plain["energy"], latency.mean_ms),
        rounds=tuple(map(_read_round, plain["starts"], processes)),
    )
    if not is_burst:
        sustained = read_sustained(options, plain, looks)
        total = replace(latency, count=sum(plain["counts"]))
        run = replace(run, sustained=sustained, latency=total)
    issues = health.find_issues(run, looks, facts)
    return replace(run, issues=issues, validity=judge(issues))


def _read_round(start: Mapping[str, float], times: Sequence[float]) -> Round:
    own = timing.summarize([times])
    return Round(len(times), own.p50_ms, own.p90_ms, start["init_ms"], start["first_ms"])


def _read_energy(plain: Mapping[str, Any] | None, mean_ms: float) -> Energy | None:
    """A counter's joules, or a power meter's readings while the model ran."""
    if plain is None:
        return None
    if plain["meter"] == "PMIC":
        power = sum(plain["watts"]) / len(plain["watts"])
        return Energy("PMIC", power, power * mean_ms)
    joules = plain["joules"]
    return Energy(plain["meter"], joules / plain["seconds"], 1e3 * joules / plain["inferences"])


def _explain(model: Path, device: Device, error: Mapping[str, Any]) -> DeviceError:
    """A coded error of the agent as a sentence with the way out."""
    hints = {
        "runtime_too_old": "Install a newer runtime there, e.g. pip install ai-edge-litert.",
        "runtime_missing": "Install it there with pip, or choose another --runtime.",
        "unsupported_op": "Convert without Flex and custom operators.",
        "bad_model": "Export or copy the model again.",
        "crashed": "Check the file, or try another --runtime.",
        "hung": "Check the file, or try another --runtime.",
        "runtime_broken": "Reinstall it there; tflite-runtime together with 'numpy<2'.",
        "cores_refused": "Choose other --cores.",
        "failed": "With dynamic dimensions, --data gives them a size; else check the file.",
    }
    return DeviceError(
        f"{model} cannot be run on {device.name}: {error['message']}.".replace("..", "."),
        hint=hints.get(error["code"]),
        details=error.get("details") or None,
    )


# ---------------------------------------------------------------- infer


def infer(
    models: Sequence[Path | ModelFile],
    chunks: Iterator[Sequence[Arrays]],
    device: Device,
    *,
    runtime: str | None = None,
    threads: int = 1,
    workers: int | None = None,
    kernels: str = "xnnpack",
    on_event: OnEvent | None = None,
) -> Iterator[list[dict[str, NDArray[Any]]]]:
    """Run models side by side over chunks of samples; some wait on disk, never all.

    Args:
        models: files; one that was parsed before is not read again here.
        chunks: for each model, input name to [chunk, ...] in the tensor's exact dtype.
        kernels: "xnnpack", or TensorFlow Lite's own: "builtin" or "reference".
        workers: parallel processes; all of the device's cores by default, one per model at least.

    Yields:
        For each model, output name to [chunk, ...] in the tensor's dtype, in the chunks' order.

    Raises:
        DeviceError: a model cannot be loaded or run there.
        SourceError: a file is no `.tflite`.
    """
    parsed = [read_model(model) for model in models]
    chosen = choose_runtime(device, runtime, on_event, parsed)
    names = [_output_names(model) for model in parsed]
    paths = [model.path for model in parsed]
    files = {f"model-{number}.tflite": path for number, path in enumerate(paths)}
    job = {
        "protocol": PROTOCOL,
        "task": "infer",
        "runtime": chosen.name,
        "threads": threads,
        "kernels": kernels,
        "workers": workers or max(1, device.facts().core_count // threads),
        "models": list(files),
    }
    journal = None
    if device.is_remote:
        journal = BatchJournal(device.name, paths, [chosen.name, chosen.version, kernels])
    while True:
        with scratch.folder() as folder:
            most = _MOST_BYTES if journal is None else _BATCH_BYTES
            written = _write_chunks(folder, chunks, names, most)
            if not written:
                break
            is_known = journal is not None and journal.find(folder, written)
            if not is_known or _damage(folder, written):
                batch = {**job, "chunks": written}
                result = device.run(batch, files, folder, on_event=on_event, deadline_s=_LONGEST_S)
                _require_outputs(result, paths, device, folder, written)
                if journal is not None:
                    journal.keep(folder, written)
            found = ({n: _take(folder / path) for n, path in chunk["outputs"].items()}
                     for chunk in written)  # fmt: skip
            for first in found:
                yield [first, *islice(found, len(paths) - 1)]
    if journal is not None:
        journal.remove()


def _output_names(model: ModelFile) -> list[str]:
    """Outputs in order; names must tell inputs and outputs apart."""
    sides = zip(("inputs", "outputs"), model.interface, strict=True)
    for side, specs in sides:
        names = [spec.name for spec in specs]
        if len(set(names)) < len(names):
            raise UsageError(f"{model.path} has two {side} of the same name: {', '.join(names)}.")
    return names


def _write_chunks(
    folder: Path,
    chunks: Iterator[Sequence[Arrays]],
    names: Sequence[Sequence[str]],
    most_bytes: int,
) -> list[dict[str, Any]]:
    """As many chunks as may lie on disk at a time, as entries of a job; none at the end."""
    written: list[dict[str, Any]] = []
    size = 0
    while size < most_bytes:
        chunk = next(chunks, None)
        if chunk is None:
            break
        for model, arrays in enumerate(chunk):
            number = len(written)
            size += sum(array.nbytes for array in arrays.values())
            outputs = {name: f"out-{number}-{i}.npy" for i, name in enumerate(names[model])}
            inputs = _write_arrays(folder, f"chunk-{number}", arrays)
            written.append({"model": model, "inputs": inputs, "outputs": outputs})
    return written


def _write_arrays(folder: Path, prefix: str, arrays: Arrays) -> dict[str, str]:
    """Arrays as `.npy` files; returns input name to file name (names may hold any character)."""
    files = {}
    for number, (name, array) in enumerate(arrays.items()):
        files[name] = f"{prefix}-{number}.npy"
        np.save(folder / files[name], array, allow_pickle=False)
    return files


def _require_outputs(
    result: Mapping[str, Any],
    models: Sequence[Path],
    device: Device,
    folder: Path,
    written: Sequence[Mapping[str, Any]],
) -> None:
    if "error" in result:
        raise _explain(models[result["model"]], device, result["error"])
    if damage := _damage(folder, written):
        raise DeviceError(
            f"What {device.name} computed did not arrive whole: {damage}",
            hint="Run the command again.",
        )


def _damage(folder: Path, written: Sequence[Mapping[str, Any]]) -> str | None:
    """What is wrong with the first damaged output, None when all can be read."""
    for name in (name for chunk in written for name in chunk["outputs"].values()):
        try:
            with open_file(folder / name) as stream:
                npy.read_header(stream, name, os.fstat(stream.fileno()).st_size)
        except DataError as error:
            return error.message
        except OSError as error:
            return f"{name} cannot be read: {error.strerror or error}."
    return None


def _take(path: Path) -> NDArray[Any]:
    """Read an output file and free its disk space."""
    array = npy.load(path)
    path.unlink()
    return array
