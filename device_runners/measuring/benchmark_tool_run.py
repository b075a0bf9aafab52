"""`bench` on an adb device: the agent where a Python is there, else TensorFlow's benchmark_model.

The program runs detached, so a link that breaks leaves it running and is made anew. Each look is a
script of its own over adb; so clock, temperature and throttling are sampled while it runs.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeq.device_runners.devices import android_shell
from edgeq.device_runners.devices.cores import choose_cores
from edgeq.device_runners.devices.device import OnEvent, upload_progress
from edgeq.device_runners.links.adb_shell import ScriptError, Shell
from edgeq.device_runners.measuring import health, run_job
from edgeq.device_runners.measuring.benchmark_model import (
    ToolResult,
    command_line,
    last_error,
    read_output,
)
from edgeq.device_runners.on_board.agent.child import signal_name
from edgeq.device_runners.on_board.agent.statistics import MIN_RUNS
from edgeq.errors import DeviceError, UsageError
from edgeq.files import storage
from edgeq.issues import judge
from edgeq.tflite import flatbuffer
from edgeq.values import BenchOptions, BenchResult, BenchRun, DeviceFacts, RuntimeInfo

LOOK_S = 1.0  # between two looks, at least: each one takes some processor time of the run's
_SHARE = 0.05  # of the time that looking may take
_LONGEST_S = 24 * 3600.0
_CLEAN_UP_S = 10.0
# Of the field e_machine in an ELF file's header.
_ELF = {"03": "x86", "28": "arm", "3e": "x86-64", "b7": "arm64", "f3": "RISC-V"}
_RUNS = {"aarch64": ("arm64", "arm"), "armv8l": ("arm",), "armv7l": ("arm",),
         "x86_64": ("x86-64", "x86"), "i686": ("x86",), "riscv64": ("RISC-V",)}  # fmt: skip

_IDENTIFY = 'od -An -v -tx1 -N20 "$1" && sha256sum "$1"'
_EXECUTABLE = '[ -x "$1" ]'
# $1 the job's folder, then the command. Started twice after a lost reply, it starts once.
_START = """
job=$1; shift
mkdir "$job" || { [ -d "$job" ]; exit; }
cd "$job" && cat /proc/sys/kernel/random/boot_id 2>/dev/null >boot
( exec </dev/null >/dev/null 2>&1  # a redirection behind the bracket would keep adb's stream open
  trap '' HUP
  "$@" >log 2>&1 &
  echo $! >child
  wait $!
  echo $? >status.new && mv status.new status ) &
for pause in 1 2 3 4 5 6 7 8 9; do
    [ -s child ] && exit 0
    sleep 0.2 2>/dev/null || sleep 1
done
echo "it does not start"; exit 1
"""
_LOG = 'tail -c 65536 "$1/log"'
_FINISH = """
cd "$1" 2>/dev/null || exit 0
for pause in 1 2 3; do [ -s child ] && break; sleep 1; done
[ -e status ] || kill -9 "$(cat child)" 2>/dev/null
for pause in 1 2 3; do [ -e status ] && break; sleep 0.2 2>/dev/null || sleep 1; done
rm -rf "$1"
"""


def bench(
    models: Sequence[Path],
    shell: Shell,
    options: BenchOptions,
    inputs: Mapping[str, run_job.Arrays] | None,
    on_event: OnEvent | None,
) -> BenchResult:
    """Measure models with benchmark_model, one after the other.

    Raises:
        DeviceError: a model cannot be run there, or there is no program to run it.
        UsageError: options that need the agent.
    """
    _refuse_options(shell, options, inputs)
    for model in models:
        flatbuffer.read(model)
    facts = android_shell.read_facts(shell)
    cores = choose_cores(facts, options.cores, options.threads)
    binary = find_binary(shell, options.benchmark_model, facts, on_event)
    runtime = _identify(shell, binary, facts, options.benchmark_model or binary)
    runs, looks = [], []
    for model in models:
        found, seen = _run(model, shell, options, binary, cores, on_event)
        runs.append(_as_run(model, runtime, options, facts, cores, found, seen))
        looks += seen
    return BenchResult(
        facts=facts, options=options, runs=tuple(runs), speedups=(),
        looks=run_job.read_looks(looks),
    )  # fmt: skip


def _refuse_options(shell: Shell, options: BenchOptions, inputs: Any) -> None:
    """What benchmark_model cannot do.

    Raises:
        UsageError: it was asked for.
    """
    wanted = {
        "--sustained": options.sustained_s is not None,
        "--data": inputs is not None,
        f"--rounds {options.rounds}": options.rounds is not None,
        f"--runtime {options.runtime}": options.runtime is not None,
    }
    for option, is_wanted in wanted.items():
        if is_wanted:
            why = "is measured with benchmark_model"
            raise UsageError(
                f"{option} needs edgeq's agent, and {shell.name} {why}.",
                hint="Leave it out, or name a Python there with --python and no --benchmark-model.",
            )


# ---------------------------------------------------------------- the program


def find_binary(
    shell: Shell, wanted: str | None, facts: DeviceFacts, on_event: OnEvent | None = None
) -> str:
    """The program's path on the device, where it is brought if need be.

    Args:
        wanted: a file here, or an absolute path there; None for the one that lies there.

    Raises:
        UsageError: neither.
        DeviceError: there is none.
    """
    if wanted is None and facts.benchmark_model is not None:
        return facts.benchmark_model
    if wanted is None:
        raise DeviceError(
            f"{shell.name} has neither Python nor {facts.scratch_folder}/{android_shell.BINARY}.",
            hint="Pass TensorFlow's program for it: --benchmark-model PATH (for most phones, "
            "android_aarch64_benchmark_model).",
        )
    if Path(wanted).is_file():
        return shell.upload(Path(wanted), upload_progress(Path(wanted), on_event))
    if not wanted.startswith("/"):
        raise UsageError(
            f"--benchmark-model {wanted} is no file here, and no absolute path on {shell.name}."
        )
    try:
        shell.attempt(_EXECUTABLE, wanted)
    except ScriptError as error:
        raise DeviceError(
            f"--benchmark-model {wanted} is no file here, and no program on {shell.name}.",
            hint=f"Give a file here, or type: adb -s {shell.serial} shell chmod +x PATH",
        ) from error
    return wanted


def _identify(shell: Shell, binary: str, facts: DeviceFacts, shown: str) -> RuntimeInfo:
    """The program by its digest: it does not tell its version.

    Args:
        shown: how the user calls it.

    Raises:
        DeviceError: it is built for another processor.
    """
    try:
        words = shell.attempt(_IDENTIFY, binary).split()
    except ScriptError as error:
        raise DeviceError(f"{shown} on {shell.name} cannot be read: {error}.") from error
    head, digest = words[:20], words[20].lstrip("\\")
    built_for = _ELF.get(head[18], "another processor")
    if head[:4] == ["7f", "45", "4c", "46"] and built_for not in _RUNS.get(facts.machine, _ELF):
        raise DeviceError(
            f"{shown} is built for {built_for}, and {shell.name} is {facts.machine}.",
            hint="Take the program for its processor, such as android_aarch64_benchmark_model.",
        )
    return RuntimeInfo(android_shell.BINARY, f"sha256:{digest[:12]}")


# ---------------------------------------------------------------- a run


def _run(
    model: Path,
    shell: Shell,
    options: BenchOptions,
    binary: str,
    cores: Sequence[int],
    on_event: OnEvent | None,
) -> tuple[ToolResult, list[dict[str, Any]]]:
    """Run one model to its end; nothing is left running there, whatever happens here."""
    path = shell.upload(model, upload_progress(model, on_event))
    command = command_line(
        binary, path, threads=options.threads, runs=options.runs, least_runs=MIN_RUNS,
        times_s=(options.min_time_s, options.max_time_s),
    )  # fmt: skip
    mask = f"{sum(1 << core for core in cores):x}"
    job = f"{shell.root}/jobs/{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(6)}"
    looks = [android_shell.look(shell, cores=cores)[0]]
    try:
        shell.call(_START, job, *(["taskset", mask] if cores else []), *command)
        status, peak = _follow(shell, job, cores, looks, on_event)
        text = shell.call(_LOG, job)
    finally:
        with contextlib.suppress(DeviceError):  # where the link is gone, a later run does it
            shell.call(_FINISH, job, patience_s=_CLEAN_UP_S)
    if status != 0:
        raise _explain(model, shell, status, text)
    found = read_output(text, [options.benchmark_model or binary, *command[1:]])
    return replace(found, peak_bytes=found.peak_bytes or peak), looks


def _follow(
    shell: Shell,
    job: str,
    cores: Sequence[int],
    looks: list[dict[str, Any]],
    on_event: OnEvent | None,
) -> tuple[int, int | None]:
    """Look at the device until the program has ended; its status, and its peak memory if told.

    Raises:
        DeviceError: it was killed, does not end, or the link does not come back.
    """
    end, peak = time.monotonic() + _LONGEST_S, None
    while time.monotonic() < end:
        began = time.monotonic()
        seen, told = android_shell.look(shell, job, cores)
        looks.append(seen)
        if told.get("peak"):
            peak = 1024 * int(told["peak"].split()[1])
        if told.get("state") == "ended":
            return int(told["status"]), peak
        if told.get("state") != "running":
            raise DeviceError(
                f"The run on {shell.name} was killed, or {shell.name} was restarted.",
                hint="Run it again.",
            )
        if on_event is not None:
            on_event({"event": "progress", "step": "measure", "done": len(looks)})
        time.sleep(max(LOOK_S, (time.monotonic() - began) / _SHARE))
    raise DeviceError(f"The run on {shell.name} did not end within {_LONGEST_S:g} s.")


def _explain(model: Path, shell: Shell, status: int, text: str) -> DeviceError:
    why = last_error(text)
    if status > 128:
        name = signal_name(status - 128)
        lack = ", probably for lack of memory" if name == "SIGKILL" else ""
        why = f"benchmark_model was killed by {name}{lack}"
    return DeviceError(
        f"{model} cannot be run on {shell.name}: {why}.",
        hint="-v shows all that it printed; a file that is too new for it needs a newer one.",
        details=text,
    )


def _as_run(
    model: Path,
    runtime: RuntimeInfo,
    options: BenchOptions,
    facts: DeviceFacts,
    cores: tuple[int, ...],
    found: ToolResult,
    looks: Sequence[health.Look],
) -> BenchRun:
    run = BenchRun(
        model=storage.refer(model),
        runtime=runtime,
        threads=options.threads,
        init_ms=found.init_ms,
        first_ms=found.first_ms,
        warmup_ms=(),
        latencies_ms=(),
        latency=found.latency,
        peak_rss_bytes=found.peak_bytes,
        arena_bytes=None,
        load_average=looks[0]["load_average"],
        validity="valid",
        issues=(),
        cores=cores,
    )
    issues = health.find_issues(run, looks, facts)
    return replace(run, issues=issues, validity=judge(issues))


# ---------------------------------------------------------------- setting a phone up

_INSTALL = 'cp "$1" "$2.new" && chmod 755 "$2.new" && mv "$2.new" "$2"'


def install(shell: Shell, binary: Path | None, on_event: OnEvent | None = None) -> str:
    """Bring the program to the place where `bench` looks for it; its path there, and its digest.

    Args:
        binary: a file here; None when it has to be there already.

    Raises:
        DeviceError: it is built for another processor, is missing, or cannot be written.
    """
    facts = android_shell.read_facts(shell)
    wanted = None if binary is None else str(binary)
    path = find_binary(shell, wanted, facts, on_event)
    runtime = _identify(shell, path, facts, wanted or path)
    if binary is not None:
        target = f"{facts.scratch_folder}/{android_shell.BINARY}"
        try:
            shell.attempt(_INSTALL, path, target)
        except ScriptError as error:
            raise DeviceError(f"{target} on {shell.name} cannot be written: {error}.") from error
        path = target
    return f"{path} ({runtime.version})"
