"""Devices as terminal text."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from edgeq.device_runners.devices.registry import NamedDevice
from edgeq.devices.inventory import DeviceCheck
from edgeq.render.parts import grid, harmless, render


@harmless
def show_devices(found: Sequence[NamedDevice]) -> str:
    """The names and what they stand for."""
    if not found:
        return "No device is named yet. Name one: edgeq devices add pi4 ssh://pi@raspberrypi.local"
    rows = [
        (item.name, item.address, item.python or "", str(item.file))
        for item in sorted(found, key=lambda item: item.name)
    ]
    return render(grid(rows))


@harmless
def show_checks(found: Sequence[DeviceCheck]) -> str:
    """The properties of each device, or why it does not answer."""
    return render(grid([(item.device, *_answer(item)) for item in found]))


def _answer(item: DeviceCheck) -> tuple[str, str]:
    if item.facts is None:
        return "no answer", f"{item.error} {item.hint or ''}".strip()
    facts = item.facts
    runtimes = ", ".join(f"{found.name} {found.version}" for found in facts.runtimes)
    setup = f"edgeq devices setup {shlex.quote(item.device)}"
    none = f"no runtime: {setup}"
    python = f"Python {facts.python}"
    if facts.python is None:
        python, runtimes = "no Python", facts.benchmark_model or ""
        none = f"no benchmark_model: {setup} --benchmark-model PATH"
    return "ready" if runtimes else "empty", (
        f"{facts.cpu_model}, {facts.core_count} cores, {facts.machine}, {python}, "
        f"{runtimes or none}"
    )
