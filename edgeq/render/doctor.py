"""`edgeq doctor` as terminal text."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from edgeq.device_runners.devices.cores import show_cores
from edgeq.render.parts import grid, harmless, heading, indented, render
from edgeq.values import Checkup, DeviceFacts
from edgeq.wording import plural, show_bytes

_STYLES = {"error": "red", "warning": "yellow", "note": "cyan"}


@harmless
def show_checkup(result: Checkup) -> str:
    """Summary of `edgeq doctor`."""
    facts = result.facts
    parts: list[RenderableType] = [heading(facts.device), grid(_machine_rows(facts))]
    rows = [
        ("Python", f"{facts.python} ({facts.python_path})"), ("numpy", facts.numpy or "none")
    ]  # fmt: skip
    if facts.python is None:
        rows = [("Python", "none"), ("benchmark_model", facts.benchmark_model or "none")]
    fits = {None: "", True: ", new enough for the model", False: ", too old for the model"}
    for check in result.runtimes:
        state = "works" if check.failure is None else f"does not work: {check.failure}"
        cell = f"{check.runtime.version}, {state}{fits[check.runs_model]}"
        rows.append((check.runtime.name, cell))
    if result.sandbox_gaps is not None:
        held = "not whole, see below" if result.sandbox_gaps else "whole (Landlock and seccomp)"
        rows.append(("sandbox", held))
    parts += ["", heading("To run models"), grid(rows)]
    if result.model is not None:
        needed = result.min_runtime_version or "of no version that it names"
        parts.append(Text(f"  {result.model.path} needs TensorFlow Lite {needed}", style="dim"))
    if result.parts:
        own = [
            (part.name, f"{part.version or f'not installed ({part.remedy})'}: {part.purpose}")
            for part in result.parts
        ]
        parts += ["", heading("To convert, here"), grid(own)]
    for number, problem in enumerate(result.problems, 1):
        parts.append("" if number == 1 else Text(""))
        table = Table.grid(padding=(0, 1))
        label = Text(problem.severity, style=_STYLES[problem.severity])
        table.add_row(
            Text(f"{number}."), label, Text(f"{problem.message} [{problem.code}]", overflow="fold")
        )
        parts.append(indented(table))
        if problem.remedy is not None:
            parts.append(Text(f"     {problem.remedy}"))
    verdict = Text("No run is possible there.", "bold red")
    if result.can_run:
        verdict = Text("A run is possible there.", "bold green")
    return render(*parts, "", verdict)


def _machine_rows(facts: DeviceFacts) -> list[tuple[str, str]]:
    release = f"{facts.release}, " if facts.release else ""
    emulated = f", emulated by {facts.emulator}" if facts.emulator else ""
    heat = facts.temperature_celsius
    throttling = "not known" if facts.throttling is None else ", ".join(facts.throttling) or "none"
    available = show_bytes(facts.available_bytes)
    kinds = []
    for kind in facts.core_kinds:
        clock = "" if kind.max_mhz is None else f", up to {kind.max_mhz:.0f} MHz"
        capacity = "" if kind.capacity is None else f", capacity {kind.capacity}"
        kinds.append(f"{len(kind.numbers)} ({show_cores(kind.numbers)}{clock}{capacity})")
    return [
        ("system", f"{release}{facts.system}, {facts.machine}"),
        ("processor", f"{facts.cpu_model or 'not known'}{emulated}"),
        ("features", " ".join(facts.cpu_features) or "none known"),
        ("cores", "; ".join(kinds) or plural(facts.core_count, "core")),
        ("memory", f"{show_bytes(facts.memory_bytes)}, {available} available"),
        ("scratch", f"{show_bytes(facts.scratch_bytes)} free in {facts.scratch_folder}"),
        ("governor", facts.governor or "not known"),
        ("temperature", "not known" if heat is None else f"{heat:.0f} degrees Celsius"),
        ("slowed by", throttling),
        ("energy meter", facts.energy_meter or f"none: {facts.energy_refusal}"),
    ]
