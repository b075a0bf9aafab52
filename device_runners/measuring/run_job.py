"""Jobs of the agent: `bench` for times, `infer` for outputs; the same for all devices."""

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
# Seconds of a bench without the agent; the agent may spend as much again on rounds.
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
    """Measure models with the agent, alternating between them.

    Args:
        models: the others' speed-ups are relative to the first.
        inputs: model path to input name to the exact input tensor; random values by default.
        shown_as: the name of a temporary file in the result.

    Raises:
        DeviceError: a model cannot be loaded or run there.
        SourceError: a file is not a `.tflite`.
        UsageError: options that contradict each other, or cores that do not exist.
    """
    runtime = choose_runtime(device, options.runtime, on_event, models)
    settings = _settings(len(models), device, options)
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
    facts = read_facts(device.name, result["facts"])
    # The device may know that it is emulated when nothing inside shows it.
    facts = replace(facts, emulator=facts.emulator or device.facts().emulator)
    runs = []
    for model, plain in zip(models, result["models"], strict=True):
        if "error" in plain:
            raise _explain(model, device, plain["error"])
        file = storage.refer(model, (shown_as or {}).get(model))
        runs.append(_read_run(file, facts, options, plain, result["health"]))
    first = timing.medians_of_rounds(runs[0])
    is_sound = all(run.validity != "invalid" for run in runs)
    return BenchResult(
        facts=facts,
        options=options,
        runs=tuple(runs),
        speedups=tuple(
            timing.ratio_of_rounds(first, timing.medians_of_rounds(run))
            for run in runs[1:]
            if is_sound
        ),
        looks=read_looks(result["health"]),
    )


def _settings(count: int, device: Device, options: BenchOptions) -> dict[str, Any]:
    """How to measure this many models, in the agent's words.

    Raises:
        UsageError: see `bench`.
    """
    rounds = options.rounds or DEFAULT_ROUNDS
    settings: dict[str, Any] = {
        "threads": options.threads,
        "cores": choose_cores(device.facts(), options.cores, options.threads),
        "runs": options.runs,
        "min_time_s": options.min_time_s,
        "max_time_s": options.max_time_s,
        # Each round needs a run.
        "rounds": rounds if options.runs is None else min(rounds, options.runs),
        # If the user chose the number of rounds, the agent makes all of them.
        "spare_s": None if options.rounds else _BOARD_S if device.is_remote else _LOCAL_S,
    }
    if options.sustained_s is None:
        return settings
    if count > 1:
        raise UsageError(
            f"--sustained takes one model ({count} given): a second one would start on a hot "
            "processor."
        )
    for option, value in (("--runs", options.runs), ("--rounds", options.rounds)):
        if value is not None:
            raise UsageError(f"--sustained runs one process for a time; remove {option} {value}.")
    if not 0 < options.sustained_s <= _LONGEST_S / 2 or options.window_s <= 0:
        raise UsageError(
            "--sustained must be above 0 and at most 720 minutes, not "
            f"{options.sustained_s / 60:g}."
        )
    own = {"sustained_s": options.sustained_s, "window_s": window_length(options), "rounds": 1}
    return {**settings, **own}


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
        rounds=tuple(
            Round(len(own), known.p50_ms, known.p90_ms, start["init_ms"], start["first_ms"])
            for own, start in zip(processes, plain["starts"], strict=True)
            for known in [timing.summarize([own])]
        ),
    )
    if not is_burst:
        sustained = read_sustained(options, plain, looks)
        total = replace(latency, count=sum(plain["counts"]))
        run = replace(run, sustained=sustained, latency=total)
    issues = health.find_issues(run, looks, facts)
    return replace(run, issues=issues, validity=judge(issues))


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
    """A coded error of the agent as a sentence with a hint."""
    hints = {
        "runtime_too_old": "Install a newer runtime there, e.g. pip install ai-edge-litert.",
        "runtime_missing": "Install it there with pip, or choose another --runtime.",
        "unsupported_op": "Convert without Flex and custom operators.",
        "bad_model": "Export or copy the model again.",
        "crashed": "Check the file, or try another --runtime.",
        "hung": "Check the file, or try another --runtime.",
        "runtime_broken": "Reinstall it there; tflite-runtime together with 'numpy<2'.",
        "cores_refused": "Choose other --cores.",
        "failed": "If dimensions are dynamic, pass --data; otherwise check the file.",
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
    """Run models side by side over chunks of samples; only a few chunks at a time are on disk.

    Args:
        models: files; one that was parsed before is not read again here.
        chunks: for each model, input name to [chunk, ...] in the tensor's exact dtype.
        kernels: "xnnpack", or TensorFlow Lite's own: "builtin" or "reference".
        workers: parallel processes; all of the device's cores by default.

    Yields:
        For each model, output name to [chunk, ...] in the tensor's dtype, in the chunks' order.

    Raises:
        DeviceError: a model cannot be loaded or run there.
        SourceError: a file is not a `.tflite`.
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
        with device.folder() as folder:
            most = _MOST_BYTES if journal is None else _BATCH_BYTES
            written = _write_chunks(folder, chunks, names, most)
            if not written:
                break
            is_known = journal is not None and journal.find(folder, written)
            if not is_known or _damage(folder, written):
                batch = {**job, "chunks": written}
                result = device.run(batch, files, folder, on_event=on_event, deadline_s=_LONGEST_S)
                if "error" in result:
                    raise _explain(paths[result["model"]], device, result["error"])
                if damage := _damage(folder, written):
                    raise DeviceError(
                        f"The outputs of {device.name} did not arrive complete: {damage}",
                        hint="Run the command again.",
                    )
                if journal is not None:
                    journal.keep(folder, written)
            found = (_take(folder, chunk["outputs"]) for chunk in written)
            for first in found:
                yield [first, *islice(found, len(paths) - 1)]
    if journal is not None:
        journal.remove()


def _output_names(model: ModelFile) -> list[str]:
    """Outputs in order; inputs must have different names, and outputs as well."""
    for side, specs in zip(("inputs", "outputs"), model.interface, strict=True):
        names = [spec.name for spec in specs]
        if len(set(names)) < len(names):
            raise UsageError(f"{model.path} has two {side} with the same name: {', '.join(names)}.")
    return names


def _write_chunks(
    folder: Path,
    chunks: Iterator[Sequence[Arrays]],
    names: Sequence[Sequence[str]],
    most_bytes: int,
) -> list[dict[str, Any]]:
    """Write as many chunks as may be on disk at a time; their entries of a job."""
    written: list[dict[str, Any]] = []
    size = 0
    while size < most_bytes and (chunk := next(chunks, None)) is not None:
        known: dict[int, str] = {}  # several models may share an array
        for model, arrays in enumerate(chunk):
            number = len(written)
            new = {name: array for name, array in arrays.items() if id(array) not in known}
            size += sum(array.nbytes for array in new.values())
            outputs = {name: f"out-{number}-{i}.npy" for i, name in enumerate(names[model])}
            files = _write_arrays(folder, f"chunk-{number}", new)
            known |= {id(new[name]): file for name, file in files.items()}
            inputs = {name: known[id(array)] for name, array in arrays.items()}
            written.append({"model": model, "inputs": inputs, "outputs": outputs})
    return written


def _write_arrays(folder: Path, prefix: str, arrays: Arrays) -> dict[str, str]:
    """Write `.npy` files; returns input name to file name (names may hold any character)."""
    files = {}
    for number, (name, array) in enumerate(arrays.items()):
        files[name] = f"{prefix}-{number}.npy"
        np.save(folder / files[name], array, allow_pickle=False)
    return files


def _damage(folder: Path, written: Sequence[Mapping[str, Any]]) -> str | None:
    """The damage of the first output that cannot be read; None if all can."""
    for name in (name for chunk in written for name in chunk["outputs"].values()):
        try:
            with open_file(folder / name) as stream:
                npy.read_header(stream, name, os.fstat(stream.fileno()).st_size)
        except DataError as error:
            return error.message
        except OSError as error:
            return f"{name} cannot be read: {error.strerror or error}."
    return None


def _take(folder: Path, outputs: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Read output files and free their disk space."""
    arrays = {}
    for name, path in outputs.items():
        arrays[name] = npy.load(folder / path)
        (folder / path).unlink()
    return arrays
