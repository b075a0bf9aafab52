"""`bench` on a phone without Python: TensorFlow's benchmark_model, started over adb.

The program runs detached, so a link that breaks leaves it running, and edgeq connects again. Each
look is a separate script over adb, so clock, temperature and throttling are sampled during the run.
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
# Processors by the field e_machine in an ELF file's header, and what each machine runs.
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
_INSTALL = 'cp "$1" "$2.new" && chmod 755 "$2.new" && mv "$2.new" "$2"'


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
    needs_agent = {
        "--sustained": options.sustained_s,
        "--data": inputs,
        f"--rounds {options.rounds}": options.rounds,
        f"--runtime {options.runtime}": options.runtime,
    }
    for option, value in needs_agent.items():
        if value is not None:
            raise UsageError(
                f"{option} needs edgeq's agent, and {shell.name} is measured with benchmark_model.",
                hint=f"Remove {option.split()[0]}, or name a Python there with --python and "
                "no --benchmark-model.",
            )
    for model in models:
        flatbuffer.read(model)
    facts = android_shell.read_facts(shell)
    cores = choose_cores(facts, options.cores, options.threads)
    binary = find_binary(shell, options.benchmark_model, facts, on_event)
    runtime = _identify(shell, binary, facts, options.benchmark_model or binary)
    runs, looks = [], []
    for model in models:
        found, seen = _run(model, shell, options, binary, cores, on_event)
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
            load_average=seen[0]["load_average"],
            validity="valid",
            issues=(),
            cores=cores,
        )
        issues = health.find_issues(run, seen, facts)
        runs.append(replace(run, issues=issues, validity=judge(issues)))
        looks += seen
    return BenchResult(facts, options, tuple(runs), (), run_job.read_looks(looks))


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
        with contextlib.suppress(DeviceError):  # without a link, a run after a week does it
            shell.call(_FINISH, job, patience_s=_CLEAN_UP_S)
    if status != 0:
        why = last_error(text)
        if status > 128:
            name = signal_name(status - 128)
            lack = ", probably for lack of memory" if name == "SIGKILL" else ""
            why = f"benchmark_model was killed by {name}{lack}"
        raise DeviceError(
            f"{model} cannot be run on {shell.name}: {why}.",
            hint="-v shows everything that it printed; if the file is too new for it, use a newer "
            "benchmark_model.",
            details=text,
        )
    found = read_output(text, [options.benchmark_model or binary, *command[1:]])
    return replace(found, peak_bytes=found.peak_bytes or peak), looks


def _follow(
    shell: Shell,
    job: str,
    cores: Sequence[int],
    looks: list[dict[str, Any]],
    on_event: OnEvent | None,
) -> tuple[int, int | None]:
    """Look at the device until the program has ended; its status and, if known, peak memory.

    Raises:
        DeviceError: it was killed, does not end, or the link does not come back.
    """
    end, peak = time.monotonic() + _LONGEST_S, None
    while time.monotonic() < end:
        began = time.monotonic()
        seen, sections = android_shell.look(shell, job, cores)
        looks.append(seen)
        if sections.get("peak"):
            peak = 1024 * int(sections["peak"].split()[1])
        if sections.get("state") == "ended":
            return int(sections["status"]), peak
        if sections.get("state") != "running":
            raise DeviceError(
                f"The run on {shell.name} was killed, or {shell.name} was restarted.",
                hint="Run it again.",
            )
        if on_event is not None:
            on_event({"event": "progress", "step": "measure", "done": 0})
        time.sleep(max(LOOK_S, (time.monotonic() - began) / _SHARE))
    raise DeviceError(f"The run on {shell.name} did not end within {_LONGEST_S:g} s.")


# ---------------------------------------------------------------- the program


def find_binary(
    shell: Shell, named: str | None, facts: DeviceFacts, on_event: OnEvent | None = None
) -> str:
    """The program's path on the device; a file of this machine is sent there.

    Args:
        named: a file here, or an absolute path there; None for `facts.benchmark_model`.

    Raises:
        UsageError: neither a file here nor an absolute path.
        DeviceError: the program is missing.
    """
    if named is None and facts.benchmark_model is not None:
        return facts.benchmark_model
    if named is None:
        raise DeviceError(
            f"{shell.name} has neither Python nor {facts.scratch_folder}/{android_shell.BINARY}.",
            hint="Pass TensorFlow Lite's benchmark tool: --benchmark-model PATH (for most phones, "
            "android_aarch64_benchmark_model).",
        )
    if Path(named).is_file():
        return shell.upload(Path(named), upload_progress(Path(named), on_event))
    if not named.startswith("/"):
        raise UsageError(
            f"--benchmark-model {named} is neither a file here nor an absolute path on "
            f"{shell.name}."
        )
    try:
        shell.attempt(_EXECUTABLE, named)
    except ScriptError as error:
        raise DeviceError(
            f"--benchmark-model {named} is neither a file here nor a program on {shell.name}.",
            hint=f"Give a file here, or type: adb -s {shell.serial} shell chmod +x PATH",
        ) from error
    return named


def _identify(shell: Shell, binary: str, facts: DeviceFacts, shown: str) -> RuntimeInfo:
    """The program by its digest, since it does not report its version.

    Args:
        shown: the user's name for it.

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
            hint="Use the program for its processor, such as android_aarch64_benchmark_model.",
        )
    return RuntimeInfo(android_shell.BINARY, f"sha256:{digest[:12]}")


def install(shell: Shell, binary: Path | None, on_event: OnEvent | None = None) -> str:
    """Bring the program to the place where `bench` looks for it; its path there, and its digest.

    Args:
        binary: a file here; None if it must already be there.

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
