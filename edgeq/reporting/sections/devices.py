"""The machines that the figures come from, and their problems."""

from __future__ import annotations

from edgeq.reporting import cells
from edgeq.reporting.gathered import Gathered
from edgeq.reporting.values import Block, Cell, Section, Table


def section(gathered: Gathered) -> Section:
    """Every machine, and what `edgeq doctor` found on it."""
    rows = []
    for name, item in gathered.facts().items():
        emulated = f", emulated by {item.emulator}" if item.emulator else ""
        processor = f"{item.cpu_model or item.machine}{emulated}"
        rows.append(
            (
                Cell(name),
                Cell(processor, None, "bad" if emulated else ""),
                cells.count(item.core_count),
                cells.size(item.memory_bytes),
                Cell(item.release or item.system),
                Cell(item.governor or "-"),
                cells.number(item.temperature_celsius, "{:.0f} °C"),
                Cell(", ".join(f"{run.name} {run.version}" for run in item.runtimes) or "-"),
            )
        )
    titles = cells.columns(
        "device", "processor", ">cores", ">memory", "system", "governor", ">temperature", "runtimes"
    )
    blocks: list[Block] = [Table("Where it ran", titles, tuple(rows))] if rows else []
    for part in gathered.of("doctor"):
        problems = tuple(
            (Cell(item.severity), Cell(item.message), Cell(item.remedy or "-"))
            for item in part.value.problems
        )
        if problems:
            caption = f"What edgeq doctor says of {part.value.facts.device}"
            blocks.append(Table(caption, cells.columns("severity", "what", "what helps"), problems))
    return Section("devices", "Devices", "The machines behind the figures.", tuple(blocks))
