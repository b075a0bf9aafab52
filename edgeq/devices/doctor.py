"""`edgeq doctor`: whether a machine can run models, and how to improve its figures."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.device_runners.devices.runtimes import check_runtime
from edgeq.device_runners.on_board.agent.job import PROTOCOL
from edgeq.device_runners.on_board.agent.runtimes import distribution_version
from edgeq.errors import DeviceError
from edgeq.files import scratch, storage
from edgeq.files.reading import model_path
from edgeq.issues import ISSUE_KINDS
from edgeq.tflite import flatbuffer
from edgeq.values import Checkup, DeviceFacts, Part, Problem, RuntimeCheck, RuntimeInfo

_DEADLINE_S = 300.0  # TensorFlow takes its time to be imported from an SD card
_LITTLE_MEMORY = 256_000_000  # a worker with ai-edge-litert and a small model takes 55 MB
_LITTLE_DISK = 200_000_000  # a model, and samples that wait on disk
_HOT_CELSIUS = 80.0  # where a Raspberry Pi's firmware begins to slow the processor
# ai-edge-litert has no wheels for these machines, nor for older Pythons.
_OLD_ARM = ("armv6l", "armv7l")
_OLDEST_PYTHON = (3, 10)
_SEVERITIES = ("error", "warning", "note")

# Distributions, what needs them, and the extra that installs them.
_PARTS = (
    (("tensorflow", "tensorflow-cpu", "tf-nightly"), "convert, tune, and Keras files", "convert"),
    (("tf_keras",), "Keras files that only Keras 2 reads", "convert"),
    (("litert-torch",), "PyTorch files, here or with --torch-python", "torch"),
    (("onnx2tf",), "ONNX files, here or with --onnx-python", "onnx"),
)


def doctor(
    device: str = "local", model: str | Path | None = None, *, python: str | Path | None = None
) -> Checkup:
    """Examine a machine: its facts, the runtimes that work there, and problems with remedies.

    Every runtime is imported there in a separate process. Nothing is changed or installed.

    Args:
        device: see `bench`.
        model: a `.tflite` that is to run there.
        python: interpreter that runs the agent, this one by default.

    Raises:
        DeviceError: the machine cannot be reached, or its Python cannot run the agent.
        SourceError: the model is not a `.tflite`.
        UsageError: the model is an object.
    """
    path = None if model is None else model_path(model)
    needed = None if path is None else flatbuffer.min_runtime_version(flatbuffer.read(path))
    target = resolve_device(device, python=None if python is None else Path(python))
    facts = target.facts()
    answers = {}
    for runtime in facts.runtimes:  # each may be in a separate environment
        with scratch.folder() as folder:
            job = {"protocol": PROTOCOL, "task": "check", "runtime": runtime.name}
            answers[runtime] = target.run(job, {}, folder, deadline_s=_DEADLINE_S)
    runtimes = tuple(
        RuntimeCheck(
            runtime=runtime,
            failure=_why_broken(runtime, answer),
            runs_model=None if path is None else _is_new_enough(needed, runtime, path),
        )
        for runtime, answer in answers.items()
    )
    gaps = next((a["sandbox"] for a in answers.values() if a["sandbox"] is not None), None)
    if facts.python is None:
        finds = _phone_problems(facts)
    else:
        # edgeq brings this to a board without pip or a network there.
        brought = target.installable() if target.python is None else None
        finds = _runtime_problems(facts, runtimes, needed, path, brought)
    is_here = facts.python_path == sys.executable and facts.device.startswith("local")
    parts = tuple(
        Part(names[0], distribution_version(*names), purpose, f'pip install "edgeq[{extra}]"')
        for names, purpose, extra in (_PARTS if is_here else ())
    )
    problems = [
        *finds, *_machine_problems(facts, gaps or ()), *_speed_problems(facts),
        *_part_problems(parts),
    ]  # fmt: skip
    problems.sort(key=lambda problem: _SEVERITIES.index(problem.severity))
    return Checkup(
        facts=facts,
        runtimes=runtimes,
        parts=parts,
        model=None if path is None else storage.refer(path),
        min_runtime_version=needed,
        problems=tuple(problems),
        can_run=all(problem.severity != "error" for problem in problems),
        sandbox_gaps=None if gaps is None else tuple(gaps),
    )


def _problem(code: str, message: str, remedy: str | None = None) -> Problem:
    return Problem(code, ISSUE_KINDS[code].severity, message, remedy)


# ---------------------------------------------------------------- runtimes


def _why_broken(runtime: RuntimeInfo, result: Mapping[str, Any]) -> str | None:
    # With these two numpys, runtimes fail late or with a message that does not help.
    numpy, error = result["facts"]["numpy"], result["error"]
    if numpy is None:
        return f"{runtime.name} needs numpy, which is not installed there"
    if runtime.name == "tflite-runtime" and flatbuffer.release(numpy) >= (2,):
        return f"{runtime.name} {runtime.version} needs numpy below 2, there is {numpy}"
    return None if error is None else str(error["message"])


def _is_new_enough(needed: str | None, runtime: RuntimeInfo, model: Path) -> bool:
    try:
        check_runtime(needed, runtime, model)
    except DeviceError:
        return False
    return True


def _runtime_problems(
    facts: DeviceFacts,
    runtimes: Sequence[RuntimeCheck],
    needed: str | None,
    model: Path | None,
    brought: RuntimeInfo | None,
) -> Iterator[Problem]:
    python = facts.python or "0"
    is_old = facts.machine in _OLD_ARM or flatbuffer.release(python) < _OLDEST_PYTHON
    wanted = "tflite-runtime 'numpy<2'" if is_old else "ai-edge-litert"
    install = f"{_pip(facts)} {wanted}" if brought is None else _set_up(facts)
    newer = "convert with --granularity tensor or another --scheme" if is_old else install
    for check in runtimes:
        if check.failure is not None:
            remedy = _repair(check, facts)
            if brought is not None:  # pip is not in edgeq's own environments
                remedy = f"edgeq devices clean {shlex.quote(facts.device)} && {_set_up(facts)}"
            yield _problem("doctor.runtime_broken", f"{check.failure}.", remedy)
        elif check.runs_model is False:
            shown = f"{check.runtime.name} {check.runtime.version}"
            yield _problem(
                "doctor.runtime_too_old",
                f"{shown} is too old for {model}, which needs TensorFlow Lite {needed}.",
                newer,
            )
    working = [check for check in runtimes if check.failure is None]
    if (
        not runtimes
        and brought is not None
        and (model is None or _is_new_enough(needed, brought, model))
    ):
        message = f"{facts.device} has no runtime yet; the first run brings {brought.name} there."
        yield _problem("doctor.no_runtime_yet", message, install)
    elif not working:
        there = "none that works" if runtimes else "none"
        message = f"{facts.device} has no TensorFlow Lite runtime to run models with: {there}."
        yield _problem("doctor.no_runtime", message, install)
    elif model is not None and not any(check.runs_model for check in working):
        message = f"No runtime on {facts.device} is new enough for {model}."
        yield _problem("doctor.model_refused", message, newer)


def _phone_problems(facts: DeviceFacts) -> Iterator[Problem]:
    """On a phone without Python, only benchmark_model can run."""
    yield _problem(
        "doctor.no_python",
        f"{facts.device} has no Python: bench runs there with benchmark_model, and eval, compare, "
        "parity and profile do not.",
    )
    if facts.benchmark_model is None:
        yield _problem(
            "doctor.no_benchmark_model",
            f"{facts.device} has neither Python nor {facts.scratch_folder}/benchmark_model.",
            f"edgeq devices setup {shlex.quote(facts.device)} --benchmark-model PATH",
        )


def _repair(check: RuntimeCheck, facts: DeviceFacts) -> str:
    """The command that may make a broken runtime work."""
    if facts.numpy is None:
        return f"{_pip(facts)} numpy"
    if check.runtime.name == "tflite-runtime":
        return f"{_pip(facts)} 'numpy<2'"
    return f"{_pip(facts)} --force-reinstall {check.runtime.name}"


def _set_up(facts: DeviceFacts) -> str:
    return f"edgeq devices setup {shlex.quote(facts.device)}"


def _pip(facts: DeviceFacts) -> str:
    return f"{shlex.quote(facts.python_path or 'python3')} -m pip install"


# ---------------------------------------------------------------- the machine


def _machine_problems(facts: DeviceFacts, gaps: Sequence[str]) -> Iterator[Problem]:
    """Problems with the processor, memory, disk, energy meter and sandbox."""
    if facts.emulator is not None:
        yield _problem(
            "doctor.emulated",
            f"The processor is emulated ({facts.emulator}): outputs are right there, latency "
            "is meaningless.",
            "measure latency on the board itself",
        )
    if facts.available_bytes is not None and facts.available_bytes < _LITTLE_MEMORY:
        yield _problem(
            "doctor.low_memory",
            f"Only {facts.available_bytes / 1e6:.0f} MB of memory are available.",
            "stop other programs, e.g. the desktop: sudo systemctl isolate multi-user.target",
        )
    if facts.scratch_folder is None:
        yield _problem(
            "doctor.no_scratch", "No folder for temporary files can be written.", "set TMPDIR"
        )
    elif facts.scratch_bytes is not None and facts.scratch_bytes < _LITTLE_DISK:
        yield _problem(
            "doctor.low_disk",
            f"Only {facts.scratch_bytes / 1e6:.0f} MB are free in {facts.scratch_folder}.",
            "free some space, or set TMPDIR to a larger disk",
        )
    if facts.energy_refusal is not None and "root" in facts.energy_refusal:
        meter = facts.energy_refusal.split(" ", 1)[0]
        message = f"Energy is not measured: {facts.energy_refusal}."
        yield _problem("doctor.meter_unreadable", message, f"sudo chmod a+r {meter}")
    if gaps:
        yield _problem(
            "doctor.no_sandbox",
            f"Model files are opened without a whole sandbox on {facts.device}: {'; '.join(gaps)}.",
            "open files of strangers on another machine, with Linux 6.2 or newer",
        )


def _speed_problems(facts: DeviceFacts) -> Iterator[Problem]:
    """Problems that make latency worse, or different from run to run."""
    now, before = facts.throttling or (), facts.throttled_before
    if "under-voltage" in (*now, *before):
        when = "is too low" if "under-voltage" in now else "was too low since it was started"
        yield _problem(
            "doctor.undervoltage",
            f"The supply voltage {when}, and the firmware lowers the clock then.",
            "use a stronger power supply and a shorter cable, then restart the board",
        )
    slowed = [state for state in now if state != "under-voltage"]
    earlier = [state for state in before if state not in (*now, "under-voltage")]
    if slowed:
        message = f"The processor is slowed down right now: {', '.join(slowed)}."
        yield _problem("doctor.throttled", message, "let it cool down, or give it a fan")
    if earlier:
        message = f"The processor was slowed down since it was started: {', '.join(earlier)}."
        yield _problem("doctor.throttled_before", message, "give it a heat sink or a fan")
    if facts.temperature_celsius is not None and facts.temperature_celsius >= _HOT_CELSIUS:
        message = f"The processor has {facts.temperature_celsius:.0f} degrees Celsius."
        yield _problem("doctor.hot", message, "let it cool down, or give it a fan")
    # A phone's governor is its maker's; only root may change it.
    if facts.governor not in (None, "performance") and facts.python is not None:
        code = "governor" if facts.governor == "powersave" else "governor_varies"
        yield _problem(
            f"doctor.{code}",
            f"The governor is {facts.governor}: the clock is not the highest during a run.",
            "sudo cpupower frequency-set -g performance",
        )
    if facts.has_dot_product is False:
        message = "The processor has no dot product instructions: INT8 gains less speed there."
        yield _problem("doctor.no_dot_product", message)


# ---------------------------------------------------------------- edgeq's own parts


def _part_problems(parts: Sequence[Part]) -> Iterator[Problem]:
    for part in parts:
        if part.name == "tensorflow" and part.version is None:
            message = f"TensorFlow is not installed here; needed for {part.purpose}."
            yield _problem("doctor.cannot_convert", message, part.remedy)
